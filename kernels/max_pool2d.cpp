#include "kernels/max_pool2d.h"

#include "kernels/cpu/max_pool2d.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

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

cpu::MaxPool2dShape shape_of(const TensorSpec& input, const MaxPool2dOptions& options) {
  check_options(options);
  STAGECOACH_CHECK(input.shape.rank() == 4 && is_floating(input.dtype) &&
                       input.format == MemoryFormat::kChannelsLast && input.elements() > 0,
                   "max_pool2d", "input F32 channels_last of rank 4, not empty", input.to_string());
  const std::int64_t padded_h = input.shape[2] + 2 * options.padding_h;
  const std::int64_t padded_w = input.shape[3] + 2 * options.padding_w;
  STAGECOACH_CHECK(options.kernel_h <= padded_h && options.kernel_w <= padded_w, "max_pool2d",
                   fmt::format("kernel of at most the padded input, {} x {}", padded_h, padded_w),
                   fmt::format("kernel {} x {}", options.kernel_h, options.kernel_w));
  return {.images = input.shape[0],
          .in_h = input.shape[2],
          .in_w = input.shape[3],
          .channels = input.shape[1],
          .out_h = (padded_h - options.kernel_h) / options.stride_h + 1,
          .out_w = (padded_w - options.kernel_w) / options.stride_w + 1,
          .options = options};
}

TensorSpec output_of(const cpu::MaxPool2dShape& shape, DType dtype) {
  return channels_last(shape.images, shape.channels, shape.out_h, shape.out_w, dtype);
}

}  // namespace

TensorSpec max_pool2d_output(const TensorSpec& input, const MaxPool2dOptions& options) {
  return output_of(shape_of(input, options), input.dtype);
}

void max_pool2d_forward(Context& context, Tensor output, Tensor index, Tensor input,
                        const MaxPool2dOptions& options, MaxPool2dInput kind) {
  constexpr const char* kName = "max_pool2d_forward";
  check_floating(kName, "input", context, input.spec);
  const cpu::MaxPool2dShape shape = shape_of(input.spec, options);
  check_tensor(kName, "output", output, output_of(shape, input.spec.dtype));
  check_tensor(kName, "index", index, output_of(shape, DType::kU8));
  check_tensor(kName, "input", input, input.spec);
  if (kind == MaxPool2dInput::kOutputOfRelu) {
    STAGECOACH_CHECK(on_cuda(context), kName, "a GPU for an input that a ReLU made", "the CPU");
    STAGECOACH_CHECK(options.kernel_h * options.kernel_w <= kNoPlace, kName,
                     fmt::format("a kernel of at most {} places after a ReLU", kNoPlace),
                     fmt::format("kernel {} x {}", options.kernel_h, options.kernel_w));
  }
  if (on_cuda(context))
    return cuda::max_pool2d_forward(context, output, index, input, options, kind);
  context.stream().enqueue([=, &context] {
    cpu::max_pool2d_forward(context.pool(), shape, output.as<float>(), index.as<std::uint8_t>(),
                            input.as<float>());
  });
}

void max_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor index,
                         const MaxPool2dOptions& options) {
  constexpr const char* kName = "max_pool2d_backward";
  check_floating(kName, "input_grad", context, input_grad.spec);
  const cpu::MaxPool2dShape shape = shape_of(input_grad.spec, options);
  check_tensor(kName, "input_grad", input_grad, input_grad.spec);
  check_tensor(kName, "output_grad", output_grad, output_of(shape, input_grad.spec.dtype));
  check_tensor(kName, "index", index, output_of(shape, DType::kU8));
  if (on_cuda(context)) {
    return cuda::max_pool2d_backward(context, input_grad, output_grad, index, options);
  }
  context.stream().enqueue([=, &context] {
    cpu::max_pool2d_backward(context.pool(), shape, input_grad.as<float>(), output_grad.as<float>(),
                             index.as<std::uint8_t>());
  });
}

}  // namespace stagecoach
