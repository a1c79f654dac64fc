#include "core/system_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "core/control_group.h"
#include "core/device_backend.h"
#include "core/error.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// The number behind the word NAME at the start of a line, times `unit`.
std::optional<std::int64_t> field_of(const char* file, const std::string& name, std::int64_t unit) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(name)) return std::stoll(line.substr(name.size())) * unit;
  }
  return std::nullopt;
}

// What is left of an address space that `ulimit -v` limits.
std::int64_t address_space_left() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  const std::int64_t used = field_of("/proc/self/status", "VmSize:", 1024).value_or(0);
  return std::max<std::int64_t>(0, static_cast<std::int64_t>(limit.rlim_cur) - used);
}

double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

}  // namespace

std::int64_t available_memory_bytes() {
  const std::int64_t machine =
      field_of("/proc/meminfo", "MemAvailable:", 1024).value_or(kUnlimited);
  return std::min({machine, group_memory_bytes(), address_space_left()});
}

std::int64_t process_peak_bytes() {
  return field_of("/proc/self/status", "VmHWM:", 1024).value_or(0);
}

std::int64_t available_memory_bytes(Device device) {
  return device_backend(device).available_bytes(device);
}

void check_memory(const std::string& what, std::int64_t bytes, Device device,
                  const std::string& hint) {
  const std::int64_t available = available_memory_bytes(device);
  STAGECOACH_CHECK(bytes <= available, "memory",
                   fmt::format("at most {:.1f} GiB, which {} has left, for {}", gib(available),
                               device == Device{} ? "this machine" : device.to_string(), what),
                   fmt::format("{:.1f} GiB", gib(bytes)), hint);
}

}  // namespace stagecoach
