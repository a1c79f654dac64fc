#include "kernels/conv2d.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {
namespace {

void check_options(const Conv2dOptions& options) {
  STAGECOACH_CHECK(options.stride_h >= 1 && options.stride_w >= 1, "conv2d", "strides >= 1",
                   fmt::format("stride {} x {}", options.stride_h, options.stride_w));
  STAGECOACH_CHECK(options.padding_h >= 0 && options.padding_w >= 0, "conv2d", "paddings >= 0",
                   fmt::format("padding {} x {}", options.padding_h, options.padding_w));
}

void check_operand(const char* name, const TensorSpec& spec) {
  STAGECOACH_CHECK(spec.shape.rank() == 4 && is_floating(spec.dtype) &&
                       spec.format == MemoryFormat::kChannelsLast && spec.elements() > 0,
                   "conv2d", fmt::format("{} F32 or BF16 channels_last of rank 4, not empty", name),
                   spec.to_string());
}

// Of `dtype`; throws Error for anything that conv2d_output() refuses.
TensorSpec output_of(const TensorSpec& input, const TensorSpec& weight,
                     const Conv2dOptions& options, DType dtype) {
  check_options(options);
  check_operand("input", input);
  check_operand("weight", weight);
  STAGECOACH_CHECK(input.shape[1] == weight.shape[1], "conv2d",
                   fmt::format("weight with {} input channels", input.shape[1]),
                   weight.to_string());
  const std::int64_t padded_h = input.shape[2] + 2 * options.padding_h;
  const std::int64_t padded_w = input.shape[3] + 2 * options.padding_w;
  STAGECOACH_CHECK(weight.shape[2] <= padded_h && weight.shape[3] <= padded_w, "conv2d",
                   fmt::format("kernel of at most the padded input, {} x {}", padded_h, padded_w),
                   fmt::format("kernel {} x {}", weight.shape[2], weight.shape[3]));
  return channels_last(input.shape[0], weight.shape[0],
                       (padded_h - weight.shape[2]) / options.stride_h + 1,
                       (padded_w - weight.shape[3]) / options.stride_w + 1, dtype);
}

}  // namespace

TensorSpec conv2d_output(const TensorSpec& input, const TensorSpec& weight,
                         const Conv2dOptions& options) {
  STAGECOACH_CHECK(input.dtype == weight.dtype, "conv2d", "input and weight of one dtype",
                   fmt::format("{} and {}", input.to_string(), weight.to_string()));
  return output_of(input, weight, options, input.dtype);
}

std::int64_t conv2d_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                    const Conv2dOptions& options, const Target& target) {
  output_of(input, weight, options, input.dtype);  // checks them
  return backend_of(target).conv2d_workspace_bytes(input, weight, options, target);
}

Conv2dStep conv2d_step(const TensorSpec& input, const TensorSpec& weight,
                       const Conv2dOptions& options, const Target& target) {
  output_of(input, weight, options, input.dtype);  // checks them
  return backend_of(target).conv2d_step(input, weight, options, target);
}

void conv2d_prepare(Context& context, Tensor forward, Tensor backward, const TensorSpec& input,
                    Tensor weight, const Conv2dOptions& options) {
  constexpr const char* kName = "conv2d_prepare";
  check_tensor(context, kName, "weight", weight, weight.spec);
  const Conv2dStep step = conv2d_step(input, weight.spec, options, context.target());
  check_tensor(context, kName, "forward", forward, step.forward);
  if (backward.defined()) check_tensor(context, kName, "backward", backward, step.backward);
  backend_of(context).conv2d_prepare(context, forward, backward, input, weight, options);
}

void conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    const Conv2dOptions& options, Activation activation, Tensor form) {
  constexpr const char* kName = "conv2d_forward";
  check_floating(kName, "input", context, input.spec);
  check_tensor(context, kName, "output", output, conv2d_output(input.spec, weight.spec, options));
  check_tensor(context, kName, "input", input, input.spec);
  check_tensor(context, kName, "weight", weight, weight.spec);
  check_tensor(context, kName, "bias", bias, row_major({weight.shape()[0]}, input.spec.dtype));
  if (form.defined()) {
    const Conv2dStep step = conv2d_step(input.spec, weight.spec, options, context.target());
    check_tensor(context, kName, "form", form, step.forward);
  }
  backend_of(context).conv2d_forward(context, output, input, weight, bias, options, activation,
                                     form);
}

void conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight,
                           const Conv2dOptions& options, Tensor form) {
  constexpr const char* kName = "conv2d_backward_input";
  check_floating(kName, "input_grad", context, input_grad.spec);
  check_tensor(context, kName, "output_grad", output_grad,
               conv2d_output(input_grad.spec, weight.spec, options));
  check_tensor(context, kName, "input_grad", input_grad, input_grad.spec);
  check_tensor(context, kName, "weight", weight, weight.spec);
  if (form.defined()) {
    const Conv2dStep step = conv2d_step(input_grad.spec, weight.spec, options, context.target());
    check_tensor(context, kName, "form", form, step.backward);
  }
  backend_of(context).conv2d_backward_input(context, input_grad, output_grad, weight, options,
                                            form);
}

void conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, const Conv2dOptions& options,
                            GradientMode mode, Tensor sums) {
  constexpr const char* kName = "conv2d_backward_weight";
  check_floating(kName, "input", context, input.spec);
  check_tensor(context, kName, "output_grad", output_grad,
               output_of(input.spec, weight_grad.spec, options, input.spec.dtype));
  check_tensor(context, kName, "input", input, input.spec);
  TensorSpec gradient = weight_grad.spec;
  gradient.dtype = DType::kF32;
  check_tensor(context, kName, "weight_grad", weight_grad, gradient);
  check_tensor(context, kName, "bias_grad", bias_grad, row_major({weight_grad.shape()[0]}));
  if (sums.defined()) {
    const Conv2dStep step = conv2d_step(input.spec, gradient, options, context.target());
    check_tensor(context, kName, "sums", sums, step.sums);
  }
  backend_of(context).conv2d_backward_weight(context, weight_grad, bias_grad, output_grad, input,
                                             options, mode, sums);
}

void conv2d_finish_weight(Context& context, Tensor weight_grad, Tensor sums,
                          const TensorSpec& input, const Conv2dOptions& options) {
  constexpr const char* kName = "conv2d_finish_weight";
  check_tensor(context, kName, "weight_grad", weight_grad, weight_grad.spec);
  check_tensor(context, kName, "sums", sums,
               conv2d_step(input, weight_grad.spec, options, context.target()).sums);
  backend_of(context).conv2d_finish_weight(context, weight_grad, sums, input, options);
}

}  // namespace stagecoach
