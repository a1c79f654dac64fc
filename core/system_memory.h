// What this machine lets the process have of its memory.
#pragma once

#include <cstdint>
#include <string>

#include "core/device.h"

namespace stagecoach {

// Bytes that can be allocated without swapping: MemAvailable, or what is left to the process's
// control groups or of its address space (ulimit -v) where that is less. The largest number when
// unknown.
std::int64_t available_memory_bytes();
// The same of a device: of a GPU, what no process holds.
std::int64_t available_memory_bytes(Device device);

// The most bytes of memory that this process has held so far (VmHWM); 0 when unknown.
std::int64_t process_peak_bytes();

// Throws Error "memory: expected at most AVAILABLE for WHAT, got NEEDED; HINT" when `bytes` are
// more than are available on `device`.
void check_memory(const std::string& what, std::int64_t bytes, Device device,
                  const std::string& hint);

}  // namespace stagecoach
