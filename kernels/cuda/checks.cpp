#include "kernels/cuda/checks.h"

#include <limits>

#include "core/device_backend.h"
#include "core/error.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/conv2d_library.h"
#include "kernels/cuda/matrix_product.h"

namespace stagecoach::cuda {

void check_image_size(const char* operation, const TensorSpec& images) {
  const std::int64_t rows = images.shape[0];
  STAGECOACH_CHECK(images.elements() <= rows * std::numeric_limits<std::int32_t>::max(), operation,
                   "images of fewer than 2^31 elements", images.to_string());
}

std::uint32_t check_items(const char* operation, const TensorSpec& tensor, std::int64_t items) {
  STAGECOACH_CHECK(items <= std::numeric_limits<std::int32_t>::max(), operation,
                   "a tensor that is written in fewer than 2^31 pieces",
                   fmt::format("{}: {}", tensor.to_string(), items),
                   "cut the batch into smaller micro-batches");
  return static_cast<std::uint32_t>(items);
}

void check_resize(bool can, const ResidentImages& images) {
  STAGECOACH_CHECK(can, "transform_samples",
                   "images of fewer pixels a side, or a larger --image-size",
                   fmt::format("{} to be resized to {}", images.side(), images.transform().resize));
}

void CudaBackend::check_target(const Target& target) const {
  const DeviceInfo gpu = device_backend(target.device).device_info(target.device);
  const std::string name =
      fmt::format("{} of compute capability {}.{}", gpu.name, gpu.major, gpu.minor);
  STAGECOACH_CHECK(target.precision == Precision::kFp32 || gpu.major >= 8,
                   target.device.to_string(),
                   fmt::format("a GPU of compute capability 8.0 or higher for --precision {}",
                               name_of(target.precision)),
                   name, "or use --precision fp32");
  use(target.device);
  const cudaError_t status = status_of_kernels();
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
    cudaGetLastError();
    throw Error(target.device.to_string(), "a GPU that this build has code for", name,
                fmt::format("configure with -DCMAKE_CUDA_ARCHITECTURES={}{} and build again",
                            gpu.major, gpu.minor));
  }
  STAGECOACH_CUDA_CHECK(status);
}

void CudaBackend::open_libraries(Context& context) const {
  for (const auto open : {open_convolutions, open_products}) {
    try {
      open(context);
    } catch (const Error&) {  // of one that is missing, which no layer here may need
    }
  }
}

}  // namespace stagecoach::cuda
