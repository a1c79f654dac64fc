#include "kernels/cuda/conv2d_execute.h"

#include <vector>

#include "core/error.h"

namespace stagecoach::cuda {

void execute_plan(cudnnHandle_t handle, const ConvPlan& plan, const ConvProblem& problem,
                  const ConvOperands& operands) {
  std::vector<void*> pointers = {operands.x, operands.w, operands.y};
  std::vector<std::int64_t> ids = {static_cast<std::int64_t>(ConvTensor::kX),
                                   static_cast<std::int64_t>(ConvTensor::kW),
                                   static_cast<std::int64_t>(ConvTensor::kY)};
  if (problem.kind == ConvKind::kForward || problem.kind == ConvKind::kForwardRelu) {
    pointers.push_back(operands.bias);
    ids.push_back(static_cast<std::int64_t>(ConvTensor::kBias));
  }
  for (const void* pointer : pointers) {
    STAGECOACH_CHECK(reinterpret_cast<std::uintptr_t>(pointer) % kConvAlignment == 0, "conv2d",
                     fmt::format("tensors at multiples of {} bytes", kConvAlignment),
                     fmt::format("address {}", pointer));
  }
  const CudnnDescriptor pack = cudnn_variant_pack(ids, pointers, operands.workspace);
  STAGECOACH_CUDNN_CHECK(cudnn().execute(handle, plan.plan.raw(), pack.raw()));
}

}  // namespace stagecoach::cuda
