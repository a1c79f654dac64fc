// 2-D convolution as torch.nn.functional.conv2d defines it (cross-correlation), dilation 1,
// groups 1.
#pragma once

#include "core/context.h"
#include "kernels/activation.h"
#include "kernels/gradient_mode.h"

namespace stagecoach {

struct Conv2dOptions {
  std::int64_t stride_h = 1, stride_w = 1;    // >= 1
  std::int64_t padding_h = 0, padding_w = 0;  // >= 0, zeros on both sides
};

// Input [N, C, H, W] and weight [O, C, KH, KW], both channels_last F32 or both (on a GPU) BF16,
// give the output [N, O, (H + 2 padding_h - KH) / stride_h + 1, ...] channels_last of the same
// dtype, as all activations and their gradients are. Throws Error for anything else.
TensorSpec conv2d_output(const TensorSpec& input, const TensorSpec& weight,
                         const Conv2dOptions& options);

// Bytes of workspace that the three operations need on a context of this target.
std::int64_t conv2d_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                    const Conv2dOptions& options, const Target& target);

// What the convolutions of a training step share: forms of the weight that F and B read, made once
// by conv2d_prepare(), and sums of W that conv2d_finish_weight() makes the gradient of at the end
// of the step. F32 [floats]; no elements: there is none on this target, and undefined tensors are
// given instead. All of it is optional, but without the sums, W may have to take another algorithm,
// whose result differs in rounding.
struct Conv2dStep {
  TensorSpec forward, backward, sums;
};
Conv2dStep conv2d_step(const TensorSpec& input, const TensorSpec& weight,
                       const Conv2dOptions& options, const Target& target);
// `input`: of any number of images. `backward` undefined: not wanted.
void conv2d_prepare(Context& context, Tensor forward, Tensor backward, const TensorSpec& input,
                    Tensor weight, const Conv2dOptions& options);

// output = activation(input * weight + bias). bias [O], dtype of the input. On the CPU without an
// activation.
void conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    const Conv2dOptions& options, Activation activation = Activation::kNone,
                    Tensor form = {});

// input_grad = gradient with respect to the input (B).
void conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight,
                           const Conv2dOptions& options, Tensor form = {});

// weight_grad and bias_grad (W), F32 whatever the input is, written or added to as `mode` says;
// with `sums`, these instead of weight_grad.
void conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, const Conv2dOptions& options,
                            GradientMode mode, Tensor sums = {});
// weight_grad, overwritten, of the sums of a step.
void conv2d_finish_weight(Context& context, Tensor weight_grad, Tensor sums,
                          const TensorSpec& input, const Conv2dOptions& options);

}  // namespace stagecoach
