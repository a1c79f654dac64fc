#include "core/system_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "core/cuda/backend.h"
#include "core/error.h"

namespace stagecoach {
namespace {

// The number behind the word NAME at the start of a line, times `unit`.
std::optional<std::int64_t> field_of(const char* file, const std::string& name, std::int64_t unit) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(name)) return std::stoll(line.substr(name.size())) * unit;
  }
  return std::nullopt;
}

// A file of one number; none when it cannot be read or says "max".
std::optional<std::int64_t> number_in(const char* file) {
  std::ifstream stream(file);
  std::int64_t number = 0;
  return stream >> number ? std::optional(number) : std::nullopt;
}

double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

}  // namespace

std::int64_t available_memory_bytes() {
  std::int64_t least = field_of("/proc/meminfo", "MemAvailable:", 1024)
                           .value_or(std::numeric_limits<std::int64_t>::max());
  struct Group {
    const char *limit, *usage, *statistics, *cache;  // files; the field of memory easily given back
  };
  constexpr Group kGroups[] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat",
       "inactive_file "},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
       "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file "}};
  for (const Group& group : kGroups) {
    const auto limit = number_in(group.limit), usage = number_in(group.usage);
    if (!limit || !usage) continue;
    const std::int64_t cache = field_of(group.statistics, group.cache, 1).value_or(0);
    least = std::min(least, std::max<std::int64_t>(0, *limit - *usage + cache));
  }
  return least;
}

std::int64_t process_peak_bytes() {
  return field_of("/proc/self/status", "VmHWM:", 1024).value_or(0);
}

std::int64_t available_memory_bytes(Device device) {
  return device.type == DeviceType::kCuda ? cuda::device_info(device).free_memory_bytes
                                          : available_memory_bytes();
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
