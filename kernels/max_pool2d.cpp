#include "kernels/max_pool2d.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kMaxWindow = 256;  // places that an index of one byte can name

void check_options(const MaxPool2dOptions& options) {
  const auto& [kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w] = options;
  STAGECOACH_CHECK(kernel_h >= 1 && kernel_w >= 1 && kernel_h <= kMaxWindow &&
                       kernel_w <= kMaxWindow && kernel_h * kernel_w <= kMaxWindow,
                   "max_pool2d", fmt::format("a kernel of 1 to {} places", kMaxWindow),
                   fmt::format("kernel {} x {}", kernel_h, kernel_w));
  STAGECOACH_CHECK(stride_h >= 1 && stride_w >= 1, "max_pool2d", "strides >= 1",
                   fmt::format("stride {} x {}", stride_h, stride_w));
  STAGECOACH_CHECK(
      padding_h >= 0 && padding_w >= 0 && padding_h <= kernel_h / 2 && padding_w <= kernel_w / 2,
      "max_pool2d", "paddings from 0 to half the kernel",
      fmt::format("padding {} x {} for kernel {} x {}", padding_h, padding_w, kernel_h, kernel_w));
}

TensorSpec output_of(const TensorSpec& input, const MaxPool2dOptions& options, DType dtype) {
  check_options(options);
  STAGECOACH_CHECK(input.shape.rank() == 4 && is_floating(input.dtype) &&
                       input.format == MemoryFormat::kChannelsLast && input.elements() > 0,
                   "max_pool2d", "input F32 or BF16 channels_last of rank 4, not empty",
                   input.to_string());
  const std::int64_t padded_h = input.shape[2] + 2 * options.padding_h;
  const std::int64_t padded_w = input.shape[3] + 2 * options.padding_w;
  STAGECOACH_CHECK(options.kernel_h <= padded_h && options.kernel_w <= padded_w, "max_pool2d",
                   fmt::format("kernel of at most the padded input, {} x {}", padded_h, padded_w),
                   fmt::format("kernel {} x {}", options.kernel_h, options.kernel_w));
  return channels_last(input.shape[0], input.shape[1],
                       (padded_h - options.kernel_h) / options.stride_h + 1,
                       (padded_w - options.kernel_w) / options.stride_w + 1, dtype);
}

}  // namespace

TensorSpec max_pool2d_output(const TensorSpec& input, const MaxPool2dOptions& options) {
  return output_of(input, options, input.dtype);
}

void max_pool2d_forward(Context& context, Tensor output, Tensor index, Tensor input,
                        const MaxPool2dOptions& options, MaxPool2dInput kind) {
  constexpr const char* kName = "max_pool2d_forward";
  check_floating(kName, "input", context, input.spec);
  check_tensor(context, kName, "output", output, max_pool2d_output(input.spec, options));
  check_tensor(context, kName, "index", index, output_of(input.spec, options, DType::kU8));
  check_tensor(context, kName, "input", input, input.spec);
  if (kind == MaxPool2dInput::kOutputOfRelu) {
    STAGECOACH_CHECK(options.kernel_h * options.kernel_w <= kNoPlace, kName,
                     fmt::format("a kernel of at most {} places after a ReLU", kNoPlace),
                     fmt::format("kernel {} x {}", options.kernel_h, options.kernel_w));
  }
  backend_of(context).max_pool2d_forward(context, output, index, input, options, kind);
}

void max_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor index,
                         const MaxPool2dOptions& options) {
  constexpr const char* kName = "max_pool2d_backward";
  check_floating(kName, "input_grad", context, input_grad.spec);
  check_tensor(context, kName, "input_grad", input_grad, input_grad.spec);
  check_tensor(context, kName, "output_grad", output_grad,
               max_pool2d_output(input_grad.spec, options));
  check_tensor(context, kName, "index", index, output_of(input_grad.spec, options, DType::kU8));
  backend_of(context).max_pool2d_backward(context, input_grad, output_grad, index, options);
}

}  // namespace stagecoach
