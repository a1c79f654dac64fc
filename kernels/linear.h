// Fully connected layer as torch.nn.functional.linear defines it: y = x W^T + b.
#pragma once

#include "core/context.h"
#include "kernels/activation.h"
#include "kernels/gradient_mode.h"

namespace stagecoach {

// Bytes of workspace that the three operations need on a context of this target, for input [N, I]
// and weight [O, I].
std::int64_t linear_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                    const Target& target);

// output [N, O] = activation(input [N, I] weight [O, I]^T + bias [O]); all row-major, all F32 or
// (on a GPU) all BF16, as are the gradients of input and output.
void linear_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    Activation activation = Activation::kNone);

// input_grad [N, I] = output_grad [N, O] weight [O, I] (B).
void linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight);

// weight_grad [O, I] = output_grad^T input, bias_grad [O] = sum of output_grad over N (W); both F32
// whatever the input is.
void linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, GradientMode mode);

}  // namespace stagecoach
