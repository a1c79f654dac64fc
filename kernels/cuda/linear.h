// The fully connected layer on a GPU, by cuBLASLt. The public operations have checked every tensor.
#pragma once

#include "kernels/linear.h"

namespace stagecoach::cuda {

std::int64_t linear_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                    const Target& target);
void linear_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    Activation activation);
void linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight);
void linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, GradientMode mode);

}  // namespace stagecoach::cuda
