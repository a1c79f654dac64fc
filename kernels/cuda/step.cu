#include "kernels/cuda/backend.h"
#include "kernels/cuda/checks.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/step_state.h"

namespace stagecoach::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) write_step_kernel(StepState* state, StepState values) {
  if (first_item() == 0) *state = values;
}

}  // namespace

cudaError_t status_of_kernels() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, write_step_kernel);
}

void CudaBackend::begin_step(Context& context, const StepValues& values) const {
  launch(context, 1, write_step_kernel, step_state(context),
         StepState{.step = static_cast<std::uint32_t>(values.step),
                   .skip = 0,
                   .learning_rate = values.learning_rate,
                   .adam_rate = values.adam.rate,
                   .adam_root2 = values.adam.root2,
                   .clip_factor = 1.0f,
                   .finished_blocks = 0});
}

}  // namespace stagecoach::cuda
