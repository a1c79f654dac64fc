// 2-D max pooling as torch.nn.functional.max_pool2d defines it, dilation 1, ceil_mode off.
#pragma once

#include "core/context.h"

namespace stagecoach {

struct MaxPool2dOptions {
  std::int64_t kernel_h = 2, kernel_w = 2;    // >= 1, kernel_h * kernel_w <= 256
  std::int64_t stride_h = 2, stride_w = 2;    // >= 1
  std::int64_t padding_h = 0, padding_w = 0;  // >= 0, at most half the kernel; padding never wins
};

// Input [N, C, H, W] channels_last F32 or BF16. Throws Error for anything else.
TensorSpec max_pool2d_output(const TensorSpec& input, const MaxPool2dOptions& options);

// What the input of the forward pass is. After a ReLU, a window without a value above 0 passes no
// gradient through both, so the index says "none" (kNoPlace) there, and B is that of pool and ReLU:
// the ReLU has nothing left to do, and its output need not be kept.
enum class MaxPool2dInput { kAny, kOutputOfRelu };
inline constexpr std::uint8_t kNoPlace = 255;

// `index` (U8, the shape and format of the output) gets the place of the maximum within its window,
// counted row by row. Ties: the first one wins; a NaN wins over everything (the last NaN, as in
// PyTorch).
void max_pool2d_forward(Context& context, Tensor output, Tensor index, Tensor input,
                        const MaxPool2dOptions& options,
                        MaxPool2dInput kind = MaxPool2dInput::kAny);

// Gives each output gradient to the place that won; where windows overlap, gradients add up in the
// order of the output positions.
void max_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor index,
                         const MaxPool2dOptions& options);

}  // namespace stagecoach
