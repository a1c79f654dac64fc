#include "kernels/finite.h"

#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

// All that write the flag write the same.
__global__ void __launch_bounds__(kThreads)
    raise_kernel(std::int64_t count, const float* losses, std::uint32_t* flag) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    const float loss = losses[i];
    if (!(loss - loss == 0.0f)) *flag = kRaised;
  }
}

}  // namespace

void CudaBackend::raise_unless_finite(Context& context, Tensor losses) const {
  launch(context, losses.elements(), raise_kernel, losses.elements(), losses.as<float>(),
         context.failure_flag());
}

}  // namespace stagecoach::cuda
