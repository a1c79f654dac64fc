// Whether operations can run on a target.
#pragma once

#include "core/target.h"

namespace stagecoach {

// Throws Error when this build has no code for the device, or the device does not compute in the
// precision: names both, and what to do.
void check_target(const Target& target);

}  // namespace stagecoach
