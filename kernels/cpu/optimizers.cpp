#include "kernels/cpu/optimizers.h"

#include <cmath>

namespace stagecoach::cpu {
namespace {

constexpr std::int64_t kGrain = std::int64_t{1} << 16;

}  // namespace

// `ivdep` in both: the buffers are apart, so the compiler need not check.

void sgd_step(ThreadPool& pool, std::int64_t elements, float* parameter, float* velocity,
              const float* grad, const SgdOptions& options, float learning_rate) {
  const float rate = learning_rate, momentum = options.momentum, decay = options.weight_decay;
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
#pragma GCC ivdep
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = grad[i] + decay * parameter[i];
      const float v = momentum * velocity[i] + g;
      velocity[i] = v;
      parameter[i] -= rate * v;
    }
  });
}

void adam_step(ThreadPool& pool, std::int64_t elements, float* parameter, float* m, float* v,
               const float* grad, const AdamOptions& options, const AdamRates& rates) {
  const float rate = rates.rate, root2 = rates.root2;
  const auto new1 = static_cast<float>(1.0 - options.beta1);
  const auto beta2 = static_cast<float>(options.beta2);
  const auto new2 = static_cast<float>(1.0 - options.beta2);
  const float decay = options.weight_decay, epsilon = options.epsilon;
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
#pragma GCC ivdep
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = grad[i] + decay * parameter[i];
      const float first = m[i] + new1 * (g - m[i]);  // beta1 * m + (1 - beta1) * g
      const float second = beta2 * v[i] + new2 * g * g;
      m[i] = first;
      v[i] = second;
      parameter[i] -= rate * first / (std::sqrt(second) / root2 + epsilon);
    }
  });
}

}  // namespace stagecoach::cpu
