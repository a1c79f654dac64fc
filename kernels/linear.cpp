#include "kernels/linear.h"

#include "core/error.h"
#include "kernels/cpu/linear.h"
#include "kernels/dispatch.h"

namespace stagecoach {
namespace {

// The sizes that `batch` [N, I] and `weight` [O, I] give; throws Error naming `operation` unless
// both are what their names say.
cpu::LinearShape shape_of(const char* operation, const char* batch_name, const Tensor& batch,
                          const char* weight_name, const Tensor& weight) {
  STAGECOACH_CHECK(batch.shape().rank() == 2 && batch.elements() > 0, operation,
                   fmt::format("{} of rank 2, not empty", batch_name), batch.spec.to_string());
  STAGECOACH_CHECK(weight.shape().rank() == 2 && weight.elements() > 0, operation,
                   fmt::format("{} of rank 2, not empty", weight_name), weight.spec.to_string());
  const cpu::LinearShape shape{batch.shape()[0], batch.shape()[1], weight.shape()[0]};
  check_tensor(operation, batch_name, batch, row_major({shape.rows, shape.inputs}));
  check_tensor(operation, weight_name, weight, row_major({shape.outputs, shape.inputs}));
  return shape;
}

}  // namespace

void linear_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias) {
  constexpr const char* kName = "linear_forward";
  require_cpu(kName, context);
  const cpu::LinearShape shape = shape_of(kName, "input", input, "weight", weight);
  check_tensor(kName, "output", output, row_major({shape.rows, shape.outputs}));
  check_tensor(kName, "bias", bias, row_major({shape.outputs}));
  context.stream().enqueue([=, &context] {
    cpu::linear_forward(context.pool(), shape, output.as<float>(), input.as<float>(),
                        weight.as<float>(), bias.as<float>());
  });
}

void linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight) {
  constexpr const char* kName = "linear_backward_input";
  require_cpu(kName, context);
  const cpu::LinearShape shape = shape_of(kName, "input_grad", input_grad, "weight", weight);
  check_tensor(kName, "output_grad", output_grad, row_major({shape.rows, shape.outputs}));
  context.stream().enqueue([=, &context] {
    cpu::linear_backward_input(context.pool(), shape, input_grad.as<float>(),
                               output_grad.as<float>(), weight.as<float>());
  });
}

void linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, GradientMode mode) {
  constexpr const char* kName = "linear_backward_weight";
  require_cpu(kName, context);
  const cpu::LinearShape shape = shape_of(kName, "input", input, "weight_grad", weight_grad);
  check_tensor(kName, "output_grad", output_grad, row_major({shape.rows, shape.outputs}));
  check_tensor(kName, "bias_grad", bias_grad, row_major({shape.outputs}));
  context.stream().enqueue([=, &context] {
    cpu::linear_backward_weight(context.pool(), shape, weight_grad.as<float>(),
                                bias_grad.as<float>(), output_grad.as<float>(), input.as<float>(),
                                mode);
  });
}

}  // namespace stagecoach
