#include <fmt/format.h>

#include <fstream>
#include <thread>

#include "core/system_memory.h"
#include "kernels/cpu/gemm.h"
#include "pipeline/schedule.h"
#include "trainer/suggest.h"
#include "trainer/train.h"

namespace stagecoach {
namespace {

std::string cpu_name() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string instructions() {
#if defined(__AVX512F__)
  return "AVX-512";
#elif defined(__AVX2__)
  return "AVX2";
#else
  return "baseline";
#endif
}

}  // namespace

std::string info_text() {
  const auto line = [](const char* name, const std::string& value) {
    return fmt::format("{:<14}{}\n", name, value);
  };
  return line("stagecoach", STAGECOACH_VERSION) +
         line("device", fmt::format("cpu: {}, {} cores, {:.1f} GiB of memory free", cpu_name(),
                                    std::thread::hardware_concurrency(),
                                    static_cast<double>(available_memory_bytes()) / (1 << 30))) +
         line("cuda", "not in this build") +
         line("compiled",
              fmt::format("by GCC-compatible {}, for {}", __VERSION__, instructions())) +
         line("matrices", cpu::gemm_library()) + line("networks", "alexnet") +
         line("schedules", enumerate(schedule_names())) + line("optimizers", "sgd, adam") +
         line("data", "CIFAR-10 (binary files), synthetic");
}

}  // namespace stagecoach
