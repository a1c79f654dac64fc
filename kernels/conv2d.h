// 2-D convolution as torch.nn.functional.conv2d defines it (cross-correlation), dilation 1,
// groups 1.
#pragma once

#include "core/context.h"
#include "kernels/activation.h"
#include "kernels/gradient_mode.h"
#include "kernels/image_layout.h"

namespace stagecoach {

struct Conv2dOptions {
  std::int64_t stride_h = 1, stride_w = 1;    // >= 1
  std::int64_t padding_h = 0, padding_w = 0;  // >= 0, zeros on both sides
  // 0: the input is [N, C, H, W]. Else it lies in blocks of this side, see conv2d_image_layout().
  std::int64_t input_block = 0;
};

// Input [N, C, H, W] and weight [O, C, KH, KW], both channels_last F32 or both (on a GPU) BF16,
// give the output [N, O, (H + 2 padding_h - KH) / stride_h + 1, ...] channels_last of the same
// dtype, as all activations and their gradients are. Throws Error for anything else.
//
// An input in blocks gives the same output, from the same weight. It is of a GPU only, and for
// networks' inputs: it has no gradient.
TensorSpec conv2d_output(const TensorSpec& input, const TensorSpec& weight,
                         const Conv2dOptions& options);

// The side of the blocks in which a context of this target computes with the input, and packs it by
// a pass of its own where it does not lie so: the stride, or 1 where channels of zeros are added; 0
// where it takes the input as it is, as the CPU and strict fp32 do.
std::int64_t conv2d_input_block(const TensorSpec& weight, const Conv2dOptions& options,
                                const Target& target);
// How `images` [N, C, H, W] lie in these blocks, the padding and what outputs need included.
ImageLayout conv2d_image_layout(const TensorSpec& images, const TensorSpec& weight,
                                const Conv2dOptions& options, const Target& target);

// The convolution that is computed with an input in blocks: over them, its weight in blocks, too.
struct Conv2dOverBlocks {
  TensorSpec weight;
  Conv2dOptions options;
};
Conv2dOverBlocks over_blocks(const TensorSpec& weight, const Conv2dOptions& options);

// Channels of blocks are a multiple of this: tensor cores load them at once, as 16 bytes of BF16.
inline constexpr std::int64_t kConv2dChannelGroup = 8;

// Bytes of workspace that the three operations need on a context of this target.
std::int64_t conv2d_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                    const Conv2dOptions& options, const Target& target);

// output = activation(input * weight + bias). bias [O], dtype of the input. On the CPU without an
// activation.
void conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    const Conv2dOptions& options, Activation activation = Activation::kNone);

// input_grad = gradient with respect to the input (B).
void conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight,
                           const Conv2dOptions& options);

// weight_grad and bias_grad (W), F32 whatever the input is, written or added to as `mode` says.
// `channel_sums`: those of output_grad, where a kernel on a GPU made them (see channel_sums.h).
void conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, const Conv2dOptions& options,
                            GradientMode mode, Tensor channel_sums = {});

}  // namespace stagecoach
