#include "kernels/relu.h"

#include "kernels/cpu/relu.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void relu_forward(Context& context, Tensor output, Tensor input) {
  constexpr const char* kName = "relu_forward";
  check_floating(kName, "input", context, input.spec);
  check_tensor(kName, "input", input, input.spec);
  check_tensor(kName, "output", output, input.spec);
  if (on_cuda(context)) return cuda::relu_forward(context, output, input);
  context.stream().enqueue([=, &context] {
    cpu::relu_forward(context.pool(), input.elements(), output.as<float>(), input.as<float>());
  });
}

void relu_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor output) {
  constexpr const char* kName = "relu_backward";
  check_floating(kName, "output", context, output.spec);
  check_tensor(kName, "output", output, output.spec);
  check_tensor(kName, "output_grad", output_grad, output.spec);
  check_tensor(kName, "input_grad", input_grad, output.spec);
  if (on_cuda(context)) return cuda::relu_backward(context, input_grad, output_grad, output);
  context.stream().enqueue([=, &context] {
    cpu::relu_backward(context.pool(), output.elements(), input_grad.as<float>(),
                       output_grad.as<float>(), output.as<float>());
  });
}

}  // namespace stagecoach
