#include "kernels/adaptive_avg_pool2d.h"

#include "kernels/cpu/adaptive_avg_pool2d.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {
namespace {

cpu::AdaptiveAvgPool2dShape shape_of(const char* operation, const TensorSpec& output,
                                     const TensorSpec& input) {
  STAGECOACH_CHECK(input.shape.rank() == 4 && is_floating(input.dtype) &&
                       input.format == MemoryFormat::kChannelsLast && input.elements() > 0,
                   operation, "input F32 channels_last of rank 4, not empty", input.to_string());
  STAGECOACH_CHECK(output.shape.rank() == 4 && output.shape[2] >= 1 && output.shape[3] >= 1 &&
                       output == channels_last(input.shape[0], input.shape[1], output.shape[2],
                                               output.shape[3], input.dtype),
                   operation,
                   fmt::format("output F32 [{}, {}, OH, OW] channels_last with OH and OW >= 1",
                               input.shape[0], input.shape[1]),
                   output.to_string());
  return {.images = input.shape[0],
          .channels = input.shape[1],
          .in_h = input.shape[2],
          .in_w = input.shape[3],
          .out_h = output.shape[2],
          .out_w = output.shape[3]};
}

}  // namespace

void adaptive_avg_pool2d_forward(Context& context, Tensor output, Tensor input) {
  constexpr const char* kName = "adaptive_avg_pool2d_forward";
  check_floating(kName, "input", context, input.spec);
  const cpu::AdaptiveAvgPool2dShape shape = shape_of(kName, output.spec, input.spec);
  check_tensor(kName, "output", output, output.spec);
  check_tensor(kName, "input", input, input.spec);
  if (on_cuda(context)) return cuda::adaptive_avg_pool2d_forward(context, output, input);
  context.stream().enqueue([=, &context] {
    cpu::adaptive_avg_pool2d_forward(context.pool(), shape, output.as<float>(), input.as<float>());
  });
}

void adaptive_avg_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad) {
  constexpr const char* kName = "adaptive_avg_pool2d_backward";
  check_floating(kName, "input_grad", context, input_grad.spec);
  const cpu::AdaptiveAvgPool2dShape shape = shape_of(kName, output_grad.spec, input_grad.spec);
  check_tensor(kName, "input_grad", input_grad, input_grad.spec);
  check_tensor(kName, "output_grad", output_grad, output_grad.spec);
  if (on_cuda(context)) return cuda::adaptive_avg_pool2d_backward(context, input_grad, output_grad);
  context.stream().enqueue([=, &context] {
    cpu::adaptive_avg_pool2d_backward(context.pool(), shape, input_grad.as<float>(),
                                      output_grad.as<float>());
  });
}

}  // namespace stagecoach
