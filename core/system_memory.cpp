#include "core/system_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "core/device_backend.h"
#include "core/error.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// The number behind the word NAME at the start of a line, times `unit`.
std::optional<std::int64_t> field_of(const std::filesystem::path& file, const std::string& name,
                                     std::int64_t unit) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(name)) return std::stoll(line.substr(name.size())) * unit;
  }
  return std::nullopt;
}

// A file of one number; none when it cannot be read or says "max".
std::optional<std::int64_t> number_in(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::int64_t number = 0;
  return stream >> number ? std::optional(number) : std::nullopt;
}

// Where a version of cgroups has its groups, and what their files are called.
struct Groups {
  const char *folder, *controller, *limit, *usage;
  const char* cache;  // the field of memory.stat that is easily given back
};
constexpr Groups kVersion2 = {"", "", "memory.max", "memory.current", "inactive_file "};
constexpr Groups kVersion1 = {"memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                              "total_inactive_file "};

// The process's group, without the first slash: of the line "NUMBER:CONTROLLERS:/PATH".
std::string path_of_group(const std::filesystem::path& self, const std::string& controller) {
  std::ifstream stream(self);
  for (std::string line; std::getline(stream, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (fmt::format(",{},", controllers).find(fmt::format(",{},", controller)) ==
        std::string::npos) {
      continue;
    }
    return line.substr(std::min(second + 2, line.size()));
  }
  return "";
}

std::int64_t left_to(const std::filesystem::path& group, const Groups& groups) {
  const auto limit = number_in(group / groups.limit), usage = number_in(group / groups.usage);
  if (!limit || !usage) return kUnlimited;
  const std::int64_t cache = field_of(group / "memory.stat", groups.cache, 1).value_or(0);
  return std::max<std::int64_t>(0, *limit - *usage + cache);
}

double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

}  // namespace

std::int64_t available_memory_bytes() {
  const std::int64_t machine =
      field_of("/proc/meminfo", "MemAvailable:", 1024).value_or(kUnlimited);
  return std::min(machine, group_memory_bytes());
}

std::int64_t group_memory_bytes(const std::filesystem::path& root,
                                const std::filesystem::path& self) {
  std::int64_t least = kUnlimited;
  for (const Groups& groups : {kVersion2, kVersion1}) {
    // Inside a container the path may be one of the host: then only the top is found.
    std::filesystem::path group = root / groups.folder;
    least = std::min(least, left_to(group, groups));
    for (const auto& name : std::filesystem::path(path_of_group(self, groups.controller))) {
      group /= name;
      least = std::min(least, left_to(group, groups));
    }
  }
  return least;
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
