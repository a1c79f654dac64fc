#include "kernels/dropout.h"

#include "core/error.h"
#include "kernels/backend.h"

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
  check_tensor(context, operation, "input", input, input.spec);
  check_tensor(context, operation, "output", output, input.spec);
  backend_of(context).dropout(context, output, input, mask);
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
