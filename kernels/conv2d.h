// 2-D convolution as torch.nn.functional.conv2d defines it (cross-correlation), dilation 1,
// groups 1.
#pragma once

#include "core/context.h"
#include "kernels/gradient_mode.h"

namespace stagecoach {

struct Conv2dOptions {
  std::int64_t stride_h = 1, stride_w = 1;    // >= 1
  std::int64_t padding_h = 0, padding_w = 0;  // >= 0, zeros on both sides
};

// Input [N, C, H, W] and weight [O, C, KH, KW], both channels_last fp32, give the output
// [N, O, (H + 2 padding_h - KH) / stride_h + 1, ...] channels_last. Throws Error for anything else.
TensorSpec conv2d_output(const TensorSpec& input, const TensorSpec& weight,
                         const Conv2dOptions& options);

// Bytes of workspace that the three operations need on a context with `threads` threads.
std::int64_t conv2d_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                    const Conv2dOptions& options, int threads);

// output = input * weight + bias. bias [O].
void conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    const Conv2dOptions& options);

// input_grad = gradient with respect to the input (B).
void conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight,
                           const Conv2dOptions& options);

// weight_grad and bias_grad (W), written or added to as `mode` says.
void conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, const Conv2dOptions& options,
                            GradientMode mode);

}  // namespace stagecoach
