#include "kernels/linear.h"

#include "core/error.h"
#include "kernels/cpu/linear.h"
#include "kernels/cuda/linear.h"
#include "kernels/dispatch.h"

namespace stagecoach {
namespace {

// The sizes that `batch` [N, I] and `weight` [O, I] (of `weight_dtype`) give; throws Error naming
// `operation` unless both are what their names say.
cpu::LinearShape shape_of(const char* operation, const Context& context, const char* batch_name,
                          const Tensor& batch, const char* weight_name, const Tensor& weight,
                          DType weight_dtype) {
  check_floating(operation, batch_name, context, batch.spec);
  STAGECOACH_CHECK(batch.shape().rank() == 2 && batch.elements() > 0, operation,
                   fmt::format("{} of rank 2, not empty", batch_name), batch.spec.to_string());
  STAGECOACH_CHECK(weight.shape().rank() == 2 && weight.elements() > 0, operation,
                   fmt::format("{} of rank 2, not empty", weight_name), weight.spec.to_string());
  const cpu::LinearShape shape{batch.shape()[0], batch.shape()[1], weight.shape()[0]};
  check_tensor(operation, batch_name, batch,
               row_major({shape.rows, shape.inputs}, batch.spec.dtype));
  check_tensor(operation, weight_name, weight,
               row_major({shape.outputs, shape.inputs}, weight_dtype));
  return shape;
}

}  // namespace

std::int64_t linear_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                    const Target& target) {
  if (target.device.type != DeviceType::kCuda) return 0;
  return cuda::linear_workspace_bytes(input, weight, target);
}

void linear_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    Activation activation) {
  constexpr const char* kName = "linear_forward";
  const DType dtype = input.spec.dtype;
  const cpu::LinearShape shape = shape_of(kName, context, "input", input, "weight", weight, dtype);
  check_tensor(kName, "output", output, row_major({shape.rows, shape.outputs}, dtype));
  check_tensor(kName, "bias", bias, row_major({shape.outputs}, dtype));
  if (on_cuda(context)) {
    return cuda::linear_forward(context, output, input, weight, bias, activation);
  }
  check_no_activation(kName, activation);
  context.stream().enqueue([=, &context] {
    cpu::linear_forward(context.pool(), shape, output.as<float>(), input.as<float>(),
                        weight.as<float>(), bias.as<float>());
  });
}

void linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight) {
  constexpr const char* kName = "linear_backward_input";
  const DType dtype = input_grad.spec.dtype;
  const cpu::LinearShape shape =
      shape_of(kName, context, "input_grad", input_grad, "weight", weight, dtype);
  check_tensor(kName, "output_grad", output_grad, row_major({shape.rows, shape.outputs}, dtype));
  if (on_cuda(context)) {
    return cuda::linear_backward_input(context, input_grad, output_grad, weight);
  }
  context.stream().enqueue([=, &context] {
    cpu::linear_backward_input(context.pool(), shape, input_grad.as<float>(),
                               output_grad.as<float>(), weight.as<float>());
  });
}

void linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, GradientMode mode) {
  constexpr const char* kName = "linear_backward_weight";
  const cpu::LinearShape shape =
      shape_of(kName, context, "input", input, "weight_grad", weight_grad, DType::kF32);
  check_tensor(kName, "output_grad", output_grad,
               row_major({shape.rows, shape.outputs}, input.spec.dtype));
  check_tensor(kName, "bias_grad", bias_grad, row_major({shape.outputs}));
  if (on_cuda(context)) {
    return cuda::linear_backward_weight(context, weight_grad, bias_grad, output_grad, input, mode);
  }
  context.stream().enqueue([=, &context] {
    cpu::linear_backward_weight(context.pool(), shape, weight_grad.as<float>(),
                                bias_grad.as<float>(), output_grad.as<float>(), input.as<float>(),
                                mode);
  });
}

}  // namespace stagecoach
