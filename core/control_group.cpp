#include "core/control_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// The first words of a file; empty ones where it has fewer or cannot be read.
std::pair<std::string, std::string> words_in(const fs::path& file) {
  std::ifstream stream(file);
  std::pair<std::string, std::string> words;
  stream >> words.first >> words.second;
  return words;
}

// None for "max", and what else is no number.
std::optional<std::int64_t> number(const std::string& word) {
  std::int64_t value = 0;
  const char* const end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

std::optional<std::int64_t> number_in(const fs::path& file) {
  return number(words_in(file).first);
}

// The number behind `name` in a file of lines "NAME NUMBER"; 0 where there is none.
std::int64_t field_in(const fs::path& file, const std::string& name) {
  std::ifstream stream(file);
  for (std::string key, value; stream >> key >> value;) {
    if (key == name) return number(value).value_or(0);
  }
  return 0;
}

// The process's group of a controller ("" in version 2), without the first slash: of the line
// "NUMBER:CONTROLLERS:/PATH".
std::string path_of_group(const fs::path& self, const std::string& controller) {
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

// Calls body(folder) for the process's group and all that it is in. Inside a container the path may
// be one of the host: then only the top is there.
template <typename Body>
void for_groups(const ControlGroups& groups, const std::string& controller, const Body& body) {
  fs::path group = groups.root / controller;
  body(group);
  for (const fs::path& name : fs::path(path_of_group(groups.self, controller))) {
    if (name == "..") return;  // outside of what the container sees
    group /= name;
    body(group);
  }
}

std::int64_t left_to(const fs::path& group, const char* limit_file, const char* usage_file,
                     const char* cache_field) {
  const auto limit = number_in(group / limit_file), usage = number_in(group / usage_file);
  if (!limit || !usage) return kUnlimited;
  // What is easily given back: files that were read.
  const std::int64_t cache = field_in(group / "memory.stat", cache_field);
  return std::max<std::int64_t>(0, *limit - *usage + cache);
}

double cores_of(std::optional<std::int64_t> quota, std::optional<std::int64_t> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return static_cast<double>(kUnlimited);
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

}  // namespace

std::int64_t group_memory_bytes(const ControlGroups& groups) {
  std::int64_t least = kUnlimited;
  for_groups(groups, "", [&](const fs::path& group) {
    least = std::min(least, left_to(group, "memory.max", "memory.current", "inactive_file"));
  });
  for_groups(groups, "memory", [&](const fs::path& group) {
    least = std::min(least, left_to(group, "memory.limit_in_bytes", "memory.usage_in_bytes",
                                    "total_inactive_file"));
  });
  return least;
}

double group_cores(const ControlGroups& groups) {
  auto least = static_cast<double>(kUnlimited);
  for_groups(groups, "", [&](const fs::path& group) {
    const auto [quota, period] = words_in(group / "cpu.max");
    least = std::min(least, cores_of(number(quota), number(period)));
  });
  for_groups(groups, "cpu", [&](const fs::path& group) {
    least = std::min(least, cores_of(number_in(group / "cpu.cfs_quota_us"),
                                     number_in(group / "cpu.cfs_period_us")));
  });
  return least;
}

}  // namespace stagecoach
