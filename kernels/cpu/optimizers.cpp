#include "kernels/cpu/optimizers.h"

#include <cmath>

#include "kernels/cpu/ivdep.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/optimizers.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kGrain = std::int64_t{1} << 16;

}  // namespace

void sgd_step(ThreadPool& pool, std::int64_t elements, float* parameter, float* velocity,
              const float* grad, const SgdOptions& options, float learning_rate) {
  const float rate = learning_rate, momentum = options.momentum, decay = options.weight_decay;
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
    STAGECOACH_IVDEP
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = std::fma(decay, parameter[i], grad[i]);
      const float v = std::fma(momentum, velocity[i], g);
      velocity[i] = v;
      parameter[i] = std::fma(-rate, v, parameter[i]);
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
    STAGECOACH_IVDEP
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = std::fma(decay, parameter[i], grad[i]);
      const float first = std::fma(new1, g - m[i], m[i]);  // beta1 * m + (1 - beta1) * g
      const float second = std::fma(new2 * g, g, beta2 * v[i]);
      m[i] = first;
      v[i] = second;
      parameter[i] -= rate * first / (std::sqrt(second) / root2 + epsilon);
    }
  });
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(sgd_step);
HWY_EXPORT(adam_step);

void sgd_step(ThreadPool& pool, std::int64_t elements, float* parameter, float* velocity,
              const float* grad, const SgdOptions& options, float learning_rate) {
  HWY_DYNAMIC_DISPATCH(sgd_step)(pool, elements, parameter, velocity, grad, options, learning_rate);
}

void adam_step(ThreadPool& pool, std::int64_t elements, float* parameter, float* m, float* v,
               const float* grad, const AdamOptions& options, const AdamRates& rates) {
  HWY_DYNAMIC_DISPATCH(adam_step)(pool, elements, parameter, m, v, grad, options, rates);
}

}  // namespace stagecoach::cpu
#endif
