#include "kernels/adaptive_avg_pool2d.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {
namespace {

// `output` may be of any height and width.
void check_sizes(const char* operation, const TensorSpec& output, const TensorSpec& input) {
  STAGECOACH_CHECK(input.shape.rank() == 4 && is_floating(input.dtype) &&
                       input.format == MemoryFormat::kChannelsLast && input.elements() > 0,
                   operation, "input F32 or BF16 channels_last of rank 4, not empty",
                   input.to_string());
  STAGECOACH_CHECK(output.shape.rank() == 4 && output.shape[2] >= 1 && output.shape[3] >= 1 &&
                       output == channels_last(input.shape[0], input.shape[1], output.shape[2],
                                               output.shape[3], input.dtype),
                   operation,
                   fmt::format("output {} [{}, {}, OH, OW] channels_last with OH and OW >= 1",
                               name_of(input.dtype), input.shape[0], input.shape[1]),
                   output.to_string());
}

}  // namespace

void adaptive_avg_pool2d_forward(Context& context, Tensor output, Tensor input) {
  constexpr const char* kName = "adaptive_avg_pool2d_forward";
  check_floating(kName, "input", context, input.spec);
  check_sizes(kName, output.spec, input.spec);
  check_tensor(context, kName, "output", output, output.spec);
  check_tensor(context, kName, "input", input, input.spec);
  backend_of(context).adaptive_avg_pool2d_forward(context, output, input);
}

void adaptive_avg_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad) {
  constexpr const char* kName = "adaptive_avg_pool2d_backward";
  check_floating(kName, "input_grad", context, input_grad.spec);
  check_sizes(kName, output_grad.spec, input_grad.spec);
  check_tensor(context, kName, "input_grad", input_grad, input_grad.spec);
  check_tensor(context, kName, "output_grad", output_grad, output_grad.spec);
  backend_of(context).adaptive_avg_pool2d_backward(context, input_grad, output_grad);
}

}  // namespace stagecoach
