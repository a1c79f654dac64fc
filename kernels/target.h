// Whether operations can run on a target.
#pragma once

#include "core/context.h"

namespace stagecoach {

// Throws Error when this build has no code for the device, or the device does not compute in the
// precision: names both, and what to do.
void check_target(const Target& target);

// Makes what libraries keep with a context, which takes memory of a GPU that no plan counts: before
// anybody asks how much of it is free. Otherwise that is made when it is first needed.
void open_libraries(Context& context);

}  // namespace stagecoach
