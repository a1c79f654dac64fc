// Where an operation leaves for a backend.
#pragma once

#include "core/context.h"
#include "core/error.h"
#include "kernels/activation.h"

namespace stagecoach {

inline bool on_cuda(const Context& context) {
  return context.device().type == DeviceType::kCuda;
}

// Throws Error naming `operation` unless the context's device computes in the dtype of `spec`, the
// operand `name`: F32, and on a GPU BF16 too.
inline void check_floating(const char* operation, const char* name, const Context& context,
                           const TensorSpec& spec) {
  STAGECOACH_CHECK(spec.dtype == DType::kF32 || (on_cuda(context) && spec.dtype == DType::kBF16),
                   operation, fmt::format("{} F32{}", name, on_cuda(context) ? " or BF16" : ""),
                   spec.to_string());
}

// The CPU's operations leave activations to operations of their own.
inline void check_no_activation(const char* operation, Activation activation) {
  STAGECOACH_CHECK(activation == Activation::kNone, operation, "a GPU for a fused activation",
                   "the CPU");
}

}  // namespace stagecoach
