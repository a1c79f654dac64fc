// The failure flag of a job's contexts, on the CPU: one rank's thread raises it, others look.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>

namespace stagecoach::cpu {

inline void raise_unless_finite(std::int64_t count, const float* losses, std::uint32_t* flag) {
  if (std::all_of(losses, losses + count, [](float loss) { return std::isfinite(loss); })) return;
  std::atomic_ref(*flag).store(1);
}

// Null: there is no flag.
inline bool is_raised(std::uint32_t* flag) {
  return flag != nullptr && std::atomic_ref(*flag).load() != 0;
}

}  // namespace stagecoach::cpu
