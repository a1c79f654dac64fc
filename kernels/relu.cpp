#include "kernels/relu.h"

#include "kernels/cpu/relu.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void relu_forward(Context& context, Tensor output, Tensor input) {
  constexpr const char* kName = "relu_forward";
  require_cpu(kName, context);
  STAGECOACH_CHECK(input.spec.dtype == DType::kF32, kName, "input F32", input.spec.to_string());
  check_tensor(kName, "input", input, input.spec);
  check_tensor(kName, "output", output, input.spec);
  context.stream().enqueue([=, &context] {
    cpu::relu_forward(context.pool(), input.elements(), output.as<float>(), input.as<float>());
  });
}

void relu_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor output) {
  constexpr const char* kName = "relu_backward";
  require_cpu(kName, context);
  STAGECOACH_CHECK(output.spec.dtype == DType::kF32, kName, "output F32", output.spec.to_string());
  check_tensor(kName, "output", output, output.spec);
  check_tensor(kName, "output_grad", output_grad, output.spec);
  check_tensor(kName, "input_grad", input_grad, output.spec);
  context.stream().enqueue([=, &context] {
    cpu::relu_backward(context.pool(), output.elements(), input_grad.as<float>(),
                       output_grad.as<float>(), output.as<float>());
  });
}

}  // namespace stagecoach
