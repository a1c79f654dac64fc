// What the control groups (cgroup v2 or v1) of this process leave to it. Containers and schedulers
// such as Slurm set them.
#pragma once

#include <cstdint>
#include <filesystem>

namespace stagecoach {

// Where the groups are, and the file that says which are the process's.
struct ControlGroups {
  std::filesystem::path root = "/sys/fs/cgroup";
  std::filesystem::path self = "/proc/self/cgroup";
};

// The tightest of the process's group and of those that it is in; the largest number where none of
// them has a limit.
std::int64_t group_memory_bytes(const ControlGroups& groups = {});  // left, not in all
double group_cores(const ControlGroups& groups = {});  // its time a second: 1.5 is one and a half

}  // namespace stagecoach
