// Batch normalisation over images, as torch.nn.functional.batch_norm defines it: for each channel
// y = (x - mean) / sqrt(variance + eps) * weight + bias. Ioffe and Szegedy, 2015.
#pragma once

#include "core/context.h"
#include "kernels/gradient_mode.h"

namespace stagecoach {

// Throughout: x and y [N, C, H, W] channels_last F32 or (on a GPU) BF16, weight and bias [C] of
// their dtype, mean and variance [C] F32, gradients of weight and bias [C] F32. Sums over the
// N * H * W values of a channel are made in double: in pieces of kBatchNormPixels pixels, one after
// another, then over the pieces in their order.
inline constexpr std::int64_t kBatchNormPixels = 256;

// Of the operations that sum.
std::int64_t batch_norm2d_workspace_bytes(const TensorSpec& x);

// Mean and biased variance of the values of each channel.
void batch_norm2d_statistics(Context& context, Tensor mean, Tensor variance, Tensor x);

void batch_norm2d_forward(Context& context, Tensor y, Tensor x, Tensor mean, Tensor variance,
                          Tensor weight, Tensor bias, float eps);

// For mean and variance of batch_norm2d_statistics(x), with n values in a channel and
// z = (x - mean) / sqrt(variance + eps):
//   x_grad = weight / sqrt(variance + eps) * (y_grad - (sum(y_grad) + z sum(y_grad z)) / n)
void batch_norm2d_backward_input(Context& context, Tensor x_grad, Tensor y_grad, Tensor x,
                                 Tensor mean, Tensor variance, Tensor weight, float eps);

// weight_grad = sum(y_grad z), bias_grad = sum(y_grad); written, or added to.
void batch_norm2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                  Tensor y_grad, Tensor x, Tensor mean, Tensor variance, float eps,
                                  GradientMode mode);

// Once for a step: `means` and `variances` [M, C], of M parts of `values` values in each channel,
// one after another make those of all parts together; with the variance unbiased,
//   running = (1 - momentum) * running + momentum * that.
// Nothing is written when the context's failure flag is raised.
void batch_norm2d_update(Context& context, Tensor running_mean, Tensor running_variance,
                         Tensor means, Tensor variances, std::int64_t values, float momentum);

}  // namespace stagecoach
