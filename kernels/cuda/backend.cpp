#include "kernels/cuda/backend.h"

namespace stagecoach::cuda {
namespace {

const CudaBackend kBackend;
[[maybe_unused]] const bool kRegistered = register_backend(DeviceType::kCuda, kBackend);

}  // namespace
}  // namespace stagecoach::cuda
