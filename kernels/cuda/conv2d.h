// Convolution on a GPU, by cuDNN. The public operations have checked every tensor.
//
// The tensors are of the dtype that the target's precision asks for. With BF16, cuDNN sums the
// gradient of a weight over one call in fp32 and then rounds it to BF16; it is added to weight_grad
// in F32. The first call with its sizes on a context makes a plan, which a capture does not allow.
#pragma once

#include "kernels/conv2d.h"

namespace stagecoach::cuda {

std::int64_t conv2d_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                    const Conv2dOptions& options, const Target& target);
void conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    const Conv2dOptions& options, Activation activation);
void conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight,
                           const Conv2dOptions& options);
void conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, const Conv2dOptions& options,
                            GradientMode mode);

}  // namespace stagecoach::cuda
