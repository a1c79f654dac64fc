#include "kernels/gradient_norm.h"

#include <cmath>

#include "kernels/clip_factor.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/step_state.h"

namespace stagecoach::cuda {
namespace {

// Sums that are made side by side, level by level, until one is left.
constexpr std::int64_t kLevels[] = {16384, 128, 1};

// to[i] = the sum of from[i], from[i + sums], ...; of their squares where these are floats.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(std::int64_t sums, std::int64_t count, double* to, const T* from) {
  for (std::int64_t i = first_item(); i < sums; i += item_stride()) {
    double sum = 0.0;
    for (std::int64_t j = i; j < count; j += sums) {
      const double value = from[j];
      sum += sizeof(T) == sizeof(float) ? value * value : value;
    }
    to[i] = sum;
  }
}

// Once for all gradients of a step.
__global__ void __launch_bounds__(kThreads)
    clip_factor_kernel(StepState* state, const double* sums, std::int64_t count, double max_norm,
                       double* norms) {
  if (first_item() != 0) return;
  const double norm = std::sqrt(sum_ascending(sums, count));
  state->clip_factor = clip_factor(norm, max_norm);
  if (norms != nullptr) norms[state->step % kNormsKept] = norm;
}

__global__ void __launch_bounds__(kThreads)
    scale_kernel(std::int64_t elements, float* values, const StepState* state) {
  const float factor = state->clip_factor;
  if (factor == 1.0f) return;
  for (std::int64_t i = first_item(); i < elements; i += item_stride()) values[i] *= factor;
}

}  // namespace

void CudaBackend::sum_of_squares(Context& context, double* sum, Tensor values,
                                 void* workspace) const {
  auto* first = static_cast<double*>(workspace);
  double* second = first + kLevels[0];
  launch(context, kLevels[0], sum_kernel<float>, kLevels[0], values.elements(), first,
         values.as<float>());
  launch(context, kLevels[1], sum_kernel<double>, kLevels[1], kLevels[0], second, first);
  launch(context, kLevels[2], sum_kernel<double>, kLevels[2], kLevels[1], sum, second);
}

void CudaBackend::clip_gradients(Context& context, Tensor gradients, std::span<const double> sums,
                                 double max_norm, double* norms) const {
  launch(context, 1, clip_factor_kernel, step_state(context), sums.data(), std::ssize(sums),
         max_norm, norms);
  if (!gradients.defined()) return;
  launch(context, gradients.elements(), scale_kernel, gradients.elements(), gradients.as<float>(),
         step_state(context));
}

}  // namespace stagecoach::cuda
