#include "kernels/linear.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {
namespace {

struct Sizes {
  std::int64_t rows, inputs, outputs;
};

// The sizes that `batch` [N, I] and `weight` [O, I] (of `weight_dtype`) give; throws Error naming
// `operation` unless both are what their names say.
Sizes sizes_of(const char* operation, const Context& context, const char* batch_name,
               const Tensor& batch, const char* weight_name, const Tensor& weight,
               DType weight_dtype) {
  check_floating(operation, batch_name, context, batch.spec);
  STAGECOACH_CHECK(batch.shape().rank() == 2 && batch.elements() > 0, operation,
                   fmt::format("{} of rank 2, not empty", batch_name), batch.spec.to_string());
  STAGECOACH_CHECK(weight.shape().rank() == 2 && weight.elements() > 0, operation,
                   fmt::format("{} of rank 2, not empty", weight_name), weight.spec.to_string());
  const Sizes sizes{batch.shape()[0], batch.shape()[1], weight.shape()[0]};
  check_tensor(context, operation, batch_name, batch,
               row_major({sizes.rows, sizes.inputs}, batch.spec.dtype));
  check_tensor(context, operation, weight_name, weight,
               row_major({sizes.outputs, sizes.inputs}, weight_dtype));
  return sizes;
}

}  // namespace

std::int64_t linear_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                    const Target& target) {
  return backend_of(target).linear_workspace_bytes(input, weight, target);
}

void linear_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    Activation activation) {
  constexpr const char* kName = "linear_forward";
  const DType dtype = input.spec.dtype;
  const Sizes sizes = sizes_of(kName, context, "input", input, "weight", weight, dtype);
  check_tensor(context, kName, "output", output, row_major({sizes.rows, sizes.outputs}, dtype));
  check_tensor(context, kName, "bias", bias, row_major({sizes.outputs}, dtype));
  backend_of(context).linear_forward(context, output, input, weight, bias, activation);
}

void linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight) {
  constexpr const char* kName = "linear_backward_input";
  const DType dtype = input_grad.spec.dtype;
  const Sizes sizes = sizes_of(kName, context, "input_grad", input_grad, "weight", weight, dtype);
  check_tensor(context, kName, "output_grad", output_grad,
               row_major({sizes.rows, sizes.outputs}, dtype));
  backend_of(context).linear_backward_input(context, input_grad, output_grad, weight);
}

void linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, GradientMode mode) {
  constexpr const char* kName = "linear_backward_weight";
  const Sizes sizes =
      sizes_of(kName, context, "input", input, "weight_grad", weight_grad, DType::kF32);
  check_tensor(context, kName, "output_grad", output_grad,
               row_major({sizes.rows, sizes.outputs}, input.spec.dtype));
  check_tensor(context, kName, "bias_grad", bias_grad, row_major({sizes.outputs}));
  backend_of(context).linear_backward_weight(context, weight_grad, bias_grad, output_grad, input,
                                             mode);
}

}  // namespace stagecoach
