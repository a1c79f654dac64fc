// What this machine lets the process have of its memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/device.h"

namespace stagecoach {

// Bytes that can be allocated without swapping: MemAvailable, or what is left to the process's
// control group where that is less. The largest number when unknown.
std::int64_t available_memory_bytes();
// What is left to the control group, and to those that it is in, by cgroup v2 or v1 under `root`;
// `self` says which one it is. The largest number where none has a limit.
std::int64_t group_memory_bytes(const std::filesystem::path& root = "/sys/fs/cgroup",
                                const std::filesystem::path& self = "/proc/self/cgroup");
// The same of a device: of a GPU, what no process holds.
std::int64_t available_memory_bytes(Device device);

// The most bytes of memory that this process has held so far (VmHWM); 0 when unknown.
std::int64_t process_peak_bytes();

// Throws Error "memory: expected at most AVAILABLE for WHAT, got NEEDED; HINT" when `bytes` are
// more than are available on `device`.
void check_memory(const std::string& what, std::int64_t bytes, Device device,
                  const std::string& hint);

}  // namespace stagecoach
