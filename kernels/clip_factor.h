// What gradients are clipped by: the same code on the CPU and a GPU.
#pragma once

#include <cstdint>

namespace stagecoach {

// constexpr, so that kernels of GPUs call them too.
constexpr double sum_ascending(const double* values, std::int64_t count) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < count; ++i) sum += values[i];
  return sum;
}

// As torch.nn.utils.clip_grad_norm_; 1 where nothing is to change, also for a norm that is NaN.
constexpr float clip_factor(double norm, double max_norm) {
  const double factor = max_norm / (norm + 1e-6);
  return factor < 1.0 ? static_cast<float>(factor) : 1.0f;
}

}  // namespace stagecoach
