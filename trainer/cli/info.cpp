#include "trainer/cli/info.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>

#include "core/available_cores.h"
#include "core/device_backend.h"
#include "core/system_memory.h"
#include "kernels/backend.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/peak.h"
#include "layers/networks.h"
#include "pipeline/schedule/generators.h"
#include "trainer/cli/suggest.h"
#include "trainer/cli/words.h"

namespace stagecoach {
namespace {

std::string cpu_name() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string line(const std::string& name, const std::string& value) {
  return fmt::format("{:<14}{}\n", name, value);
}

double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

// Which GPUs do not reach each other's memory, so that what their stages send goes through the
// host's; nothing of a single one.
std::string peer_line(const DeviceBackend& cuda, int count) {
  std::vector<std::string> apart;
  for (int a = 0; a < count; ++a) {
    for (int b = a + 1; b < count; ++b) {
      const Device one{DeviceType::kCuda, a}, other{DeviceType::kCuda, b};
      if (!cuda.can_reach(one, other) || !cuda.can_reach(other, one)) {
        apart.push_back(fmt::format("{} and {}", one.to_string(), other.to_string()));
      }
    }
  }
  if (count < 2) return "";
  return line("", apart.empty()
                      ? "peer access: every GPU reaches the others' memory"
                      : fmt::format("peer access: none between {}; their stages' messages "
                                    "go through the host's memory",
                                    fmt::join(apart, ", ")));
}

// Every GPU, and the libraries; or why there are none.
std::string cuda_lines() {
  const DeviceBackend& cuda = device_backend(DeviceType::kCuda);
  const std::string versions = cuda.runtime_versions();
  if (versions.empty()) return line("cuda", "not in this build (cmake --preset cuda makes one)");
  std::string why, text;
  const int count = cuda.device_count(&why);
  if (count == 0) text += line("cuda", "built with CUDA, no GPU found: " + why);
  for (int i = 0; i < count; ++i) {
    const DeviceInfo gpu = cuda.device_info({DeviceType::kCuda, i});
    text += line(i == 0 ? "cuda" : "",
                 fmt::format("cuda:{}: {}, compute capability {}.{}, {} multiprocessors, {:.1f} of "
                             "{:.1f} GiB of memory free",
                             i, gpu.name, gpu.major, gpu.minor, gpu.multiprocessors,
                             gib(gpu.free_memory_bytes), gib(gpu.memory_bytes)));
  }
  text += peer_line(cuda, count);
  text += line("", versions);
  for (const auto& [name, version] : backend_of(DeviceType::kCuda).library_versions()) {
    text += line("", fmt::format("{} {}", name, version));
  }
  return text;
}

}  // namespace

std::string info_text() {
  return line("stagecoach", STAGECOACH_VERSION) +
         line("device", fmt::format("cpu: {}, {} cores, {:.1f} GiB of memory free", cpu_name(),
                                    available_cores(), gib(available_memory_bytes()))) +
         cuda_lines() + line("compiled", fmt::format("by GCC-compatible {}", __VERSION__)) +
         line("instructions",
              fmt::format("{} of {} (STAGECOACH_SIMD takes another): {:.0f} GFLOP/s on one core",
                          cpu::instruction_set(), fmt::join(cpu::instruction_sets(), ", "),
                          cpu::peak_flops() / 1e9)) +
         line("networks", fmt::format("{}", fmt::join(network_names(), ", "))) +
         line("schedules", enumerate(schedule_names())) +
         line("optimizers", fmt::format("{}", fmt::join(words_of(kOptimizerWords), ", "))) +
         line("data", "CIFAR-10 (binary files), synthetic");
}

}  // namespace stagecoach
