#include "core/cuda/backend.h"
#include "core/error.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/step_state.h"

namespace stagecoach::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) write_step_kernel(StepState* state, StepState values) {
  if (first_item() == 0) *state = values;
}

// By +: nvcc does not take fmt's checked format strings.
std::string described(const DeviceInfo& gpu) {
  return gpu.name + " of compute capability " + std::to_string(gpu.major) + "." +
         std::to_string(gpu.minor);
}

}  // namespace

void check_target(const Target& target) {
  const DeviceInfo gpu = device_info(target.device);
  STAGECOACH_CHECK(target.precision == Precision::kFp32 || gpu.major >= 8,
                   target.device.to_string(),
                   "a GPU of compute capability 8.0 or higher for --precision " +
                       std::string(name_of(target.precision)),
                   described(gpu), "or use --precision fp32");
  use(target.device);
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(&attributes, write_step_kernel);
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
    cudaGetLastError();
    throw Error(target.device.to_string(), "a GPU that this build has code for", described(gpu),
                "configure with -DCMAKE_CUDA_ARCHITECTURES=" + std::to_string(gpu.major) +
                    std::to_string(gpu.minor) + " and build again");
  }
  STAGECOACH_CUDA_CHECK(status);
}

void begin_step(Context& context, const StepValues& values) {
  launch(context, 1, write_step_kernel, step_state(context),
         StepState{.step = static_cast<std::uint32_t>(values.step),
                   .skip = 0,
                   .learning_rate = values.learning_rate,
                   .adam_rate = values.adam.rate,
                   .adam_root2 = values.adam.root2});
}

}  // namespace stagecoach::cuda
