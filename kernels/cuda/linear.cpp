#include "kernels/linear.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/matrix_product.h"
#include "kernels/cuda/operations.h"

namespace stagecoach::cuda {
namespace {

// Behind the products' own workspace lies what the gradient of the bias needs: the new gradient, or
// the scratch memory of the kernel that sums it. Never both at once.
std::int64_t bias_bytes(std::int64_t rows, std::int64_t outputs) {
  return std::max(outputs * size_of(DType::kF32), bias_grad_workspace_bytes(rows, outputs));
}

std::int64_t workspace_bytes(std::int64_t rows, std::int64_t outputs) {
  return kProductWorkspaceBytes + bias_bytes(rows, outputs);
}

LinearSizes sizes_of(const Tensor& batch, const Tensor& weight) {
  return {batch.shape()[0], weight.shape()[1], weight.shape()[0]};
}

void run_or_throw(const char* operation, Context& context, const MatrixProduct& product,
                  const ProductOperands& operands) {
  STAGECOACH_CHECK(run_product(context, product, operands), operation,
                   fmt::format("an algorithm of cuBLASLt for {} x {} x {} in {}", product.m,
                               product.n, product.k, name_of(product.operands)),
                   "none", "try another micro-batch size or --precision fp32");
}

}  // namespace

std::int64_t CudaBackend::linear_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                                 const Target&) const {
  return workspace_bytes(input.shape[0], weight.shape[0]);
}

void CudaBackend::linear_forward(Context& context, Tensor output, Tensor input, Tensor weight,
                                 Tensor bias, Activation activation) const {
  constexpr const char* kName = "linear_forward";
  const MatrixProduct product =
      forward_product(sizes_of(input, weight), input.spec.dtype, activation, context.target());
  run_or_throw(kName, context, product,
               {.a = weight.data,
                .b = input.data,
                .d = output.data,
                .bias = bias.data,
                .workspace = context.workspace(kName, kProductWorkspaceBytes)});
}

void CudaBackend::linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad,
                                        Tensor weight) const {
  constexpr const char* kName = "linear_backward_input";
  const MatrixProduct product = backward_input_product(sizes_of(output_grad, weight),
                                                       input_grad.spec.dtype, context.target());
  run_or_throw(kName, context, product,
               {.a = weight.data,
                .b = output_grad.data,
                .d = input_grad.data,
                .workspace = context.workspace(kName, kProductWorkspaceBytes)});
}

// The product writes the gradient of the bias on its way, where the library can; it cannot add to
// it.
void CudaBackend::linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                         Tensor output_grad, Tensor input,
                                         GradientMode mode) const {
  constexpr const char* kName = "linear_backward_weight";
  const LinearSizes sizes = sizes_of(input, weight_grad);
  const bool adds = mode == GradientMode::kAccumulate;
  auto* workspace =
      static_cast<std::byte*>(context.workspace(kName, workspace_bytes(sizes.rows, sizes.outputs)));
  std::byte* behind = workspace + kProductWorkspaceBytes;
  const Tensor new_bias_grad = adds ? Tensor{behind, bias_grad.spec, bias_grad.device} : bias_grad;

  MatrixProduct product = backward_weight_product(sizes, input.spec.dtype, adds, context.target());
  const ProductOperands operands{.a = input.data,
                                 .b = output_grad.data,
                                 .d = weight_grad.data,
                                 .bias = new_bias_grad.data,
                                 .workspace = workspace};
  if (run_product(context, product, operands)) {
    if (adds) accumulate(context, bias_grad, new_bias_grad);
    return;
  }
  product.epilogue = Epilogue::kNone;
  run_or_throw(kName, context, product, operands);
  cuda::bias_grad(context, bias_grad, output_grad, mode, behind);
}

}  // namespace stagecoach::cuda
