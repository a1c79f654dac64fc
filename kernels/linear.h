// Fully connected layer as torch.nn.functional.linear defines it: y = x W^T + b.
#pragma once

#include "core/context.h"
#include "kernels/gradient_mode.h"

namespace stagecoach {

// output [N, O] = input [N, I] weight [O, I]^T + bias [O]; all row-major fp32.
void linear_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias);

// input_grad [N, I] = output_grad [N, O] weight [O, I] (B).
void linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight);

// weight_grad [O, I] = output_grad^T input, bias_grad [O] = sum of output_grad over N (W).
void linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, GradientMode mode);

}  // namespace stagecoach
