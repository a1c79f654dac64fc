#include "kernels/relu.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {

void relu_forward(Context& context, Tensor output, Tensor input) {
  constexpr const char* kName = "relu_forward";
  check_floating(kName, "input", context, input.spec);
  check_tensor(context, kName, "input", input, input.spec);
  check_tensor(context, kName, "output", output, input.spec);
  backend_of(context).relu_forward(context, output, input);
}

void relu_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor output) {
  constexpr const char* kName = "relu_backward";
  check_floating(kName, "output", context, output.spec);
  check_tensor(context, kName, "output", output, output.spec);
  check_tensor(context, kName, "output_grad", output_grad, output.spec);
  check_tensor(context, kName, "input_grad", input_grad, output.spec);
  backend_of(context).relu_backward(context, input_grad, output_grad, output);
}

}  // namespace stagecoach
