#include "kernels/optimizers.h"

#include <cmath>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/step_state.h"

namespace stagecoach::cuda {
namespace {

// Once for the whole step, so that all of the parameters change or none. The flag lies in the
// host's memory, and one thread asks for it instead of every block.
__global__ void __launch_bounds__(kThreads)
    latch_failure_kernel(StepState* state, const std::uint32_t* failure_flag) {
  if (first_item() == 0) state->skip = failure_flag == nullptr ? 0 : *failure_flag;
}

__global__ void __launch_bounds__(kThreads, 8)  // all that a multiprocessor holds
    sgd_step_kernel(std::int64_t elements, bool packed, float* parameter, float* velocity,
                    const float* grad, BFloat16* copy, float momentum, float decay,
                    const StepState* state) {
  if (state->skip != 0) return;
  const float rate = state->learning_rate;
  for (std::int64_t i = first_item(); i * kFloats < elements; i += item_stride()) {
    const std::int64_t place = i * kFloats, count = elements - place;
    Pack<float, kFloats> p = load<float, kFloats>(parameter + place, count, packed);
    Pack<float, kFloats> v = load<float, kFloats>(velocity + place, count, packed);
    const Pack<float, kFloats> g = load<float, kFloats>(grad + place, count, packed);
    for (int k = 0; k < kFloats; ++k) {
      const float gradient = g.values[k] + decay * p.values[k];
      v.values[k] = momentum * v.values[k] + gradient;
      p.values[k] -= rate * v.values[k];
    }
    store(velocity + place, v, count, packed);
    store(parameter + place, p, count, packed);
    if (copy != nullptr) store(copy + place, rounded<BFloat16>(p.values), count, packed);
  }
}

// AdamOptions as the kernel needs them.
struct AdamFactors {
  float new1, beta2, new2, decay, epsilon;
};

__global__ void __launch_bounds__(kThreads)
    adam_step_kernel(std::int64_t elements, bool packed, float* parameter, float* m, float* v,
                     const float* grad, BFloat16* copy, AdamFactors factors,
                     const StepState* state) {
  if (state->skip != 0) return;
  const float rate = state->adam_rate, root2 = state->adam_root2;
  for (std::int64_t i = first_item(); i * kFloats < elements; i += item_stride()) {
    const std::int64_t place = i * kFloats, count = elements - place;
    Pack<float, kFloats> p = load<float, kFloats>(parameter + place, count, packed);
    Pack<float, kFloats> first = load<float, kFloats>(m + place, count, packed);
    Pack<float, kFloats> second = load<float, kFloats>(v + place, count, packed);
    const Pack<float, kFloats> g = load<float, kFloats>(grad + place, count, packed);
    for (int k = 0; k < kFloats; ++k) {
      const float gradient = g.values[k] + factors.decay * p.values[k];
      first.values[k] += factors.new1 * (gradient - first.values[k]);
      second.values[k] = factors.beta2 * second.values[k] + factors.new2 * gradient * gradient;
      const float root = std::sqrt(second.values[k]) / root2;
      p.values[k] -= rate * first.values[k] / (root + factors.epsilon);
    }
    store(m + place, first, count, packed);
    store(v + place, second, count, packed);
    store(parameter + place, p, count, packed);
    if (copy != nullptr) store(copy + place, rounded<BFloat16>(p.values), count, packed);
  }
}

void latch_failure(Context& context) {
  launch(context, 1, latch_failure_kernel, step_state(context), context.failure_flag());
}

BFloat16* copy_of(const Tensor& copy) {
  return copy.defined() ? copy.as<BFloat16>() : nullptr;
}

}  // namespace

void CudaBackend::sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad,
                           Tensor copy, const SgdOptions& options) const {
  const std::int64_t elements = parameter.elements();
  float* p = parameter.as<float>();
  float* v = velocity.as<float>();
  const float* g = grad.as<float>();
  BFloat16* rounded = copy_of(copy);
  latch_failure(context);
  launch(context, groups_of(elements, kFloats), sgd_step_kernel, elements,
         aligned(p, v, g, rounded), p, v, g, rounded, options.momentum, options.weight_decay,
         step_state(context));
}

void CudaBackend::adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad,
                            Tensor copy, const AdamOptions& options) const {
  const std::int64_t elements = parameter.elements();
  float* p = parameter.as<float>();
  float* first = m.as<float>();
  float* second = v.as<float>();
  const float* g = grad.as<float>();
  BFloat16* rounded = copy_of(copy);
  const AdamFactors factors{
      static_cast<float>(1.0 - options.beta1), static_cast<float>(options.beta2),
      static_cast<float>(1.0 - options.beta2), options.weight_decay, options.epsilon};
  latch_failure(context);
  launch(context, groups_of(elements, kFloats), adam_step_kernel, elements,
         aligned(p, first, second, g, rounded), p, first, second, g, rounded, factors,
         step_state(context));
}

}  // namespace stagecoach::cuda
