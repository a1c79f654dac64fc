#include "kernels/dropout.h"

#include "kernels/cpu/dropout.h"
#include "kernels/cpu/step.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {
namespace {

// Forward and backward are one operation: zero by the mask, scale the rest.
void apply(const char* operation, Context& context, const Tensor& output, const Tensor& input,
           const DropoutMask& mask) {
  check_floating(operation, "input", context, input.spec);
  STAGECOACH_CHECK(input.shape().rank() == 2 && input.spec.format == MemoryFormat::kRowMajor,
                   operation, "input [N, F] row_major", input.spec.to_string());
  STAGECOACH_CHECK(mask.p >= 0.0f && mask.p < 1.0f, operation, "p in [0, 1)",
                   fmt::format("p = {}", mask.p));
  STAGECOACH_CHECK(mask.layer < 65536, operation, "layer below 65536",
                   fmt::format("layer {}", mask.layer));
  check_tensor(operation, "input", input, input.spec);
  check_tensor(operation, "output", output, input.spec);
  if (on_cuda(context)) return cuda::dropout(context, output, input, mask);
  context.stream().enqueue([=, &context, &now = cpu::step_values(context)] {
    cpu::dropout(context.pool(), input.shape()[0], input.shape()[1], output.as<float>(),
                 input.as<float>(), mask, static_cast<std::uint32_t>(now.step));
  });
}

}  // namespace

void dropout_forward(Context& context, Tensor output, Tensor input, const DropoutMask& mask) {
  apply("dropout_forward", context, output, input, mask);
}

void dropout_backward(Context& context, Tensor input_grad, Tensor output_grad,
                      const DropoutMask& mask) {
  apply("dropout_backward", context, input_grad, output_grad, mask);
}

}  // namespace stagecoach
