// What a loss that is not finite does to a training step.
#pragma once

#include "core/context.h"

namespace stagecoach {

// Enqueues: raises the context's failure flag unless all `losses` (F32) are finite. From then on
// optimizers on contexts with the same flag leave weights and states as they are. Does nothing
// where the context has no flag.
void raise_unless_finite(Context& context, Tensor losses);

// What a device raises a flag to: as a float, not finite. So a copy of the flag, looked at like a
// loss, raises another one.
inline constexpr std::uint32_t kRaised = 0x7fc00000;
// The flag as such a loss, in the host's memory.
inline Tensor failure_flag_tensor(std::uint32_t* flag) {
  return {flag, row_major({1}), Device{}};
}

}  // namespace stagecoach
