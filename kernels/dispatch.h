// Where an operation leaves for a backend. The CPU is the only one so far.
#pragma once

#include "core/context.h"
#include "core/error.h"

namespace stagecoach {

// Throws Error naming `operation` and the device when the context is not on the CPU.
inline void require_cpu(const char* operation, const Context& context) {
  STAGECOACH_CHECK(context.device().type == DeviceType::kCpu, operation, "a context on cpu",
                   context.device().to_string(), "this build has no other backend");
}

}  // namespace stagecoach
