// The mean squared error (torch.nn.functional.mse_loss) of each sample, and its gradient.
#pragma once

#include "core/context.h"

namespace stagecoach {

// For a prediction [N, ...] F32 or (on a GPU) BF16 and targets F32 of its shape and format:
//   losses [N] F32: the mean of (prediction - target)^2 over the elements of a sample;
//   prediction_grad, spec of the prediction: 2 (prediction - target) / elements of a sample *
//   scale.
// scale = 1 / (size of the global batch) gives the gradient of the mean. Sums are made in double.
// Losses and gradients of the rows behind `samples` are 0; -1: there are none.
// A loss that is not finite is a failure as in softmax_cross_entropy().
void mean_squared_error(Context& context, Tensor losses, Tensor prediction_grad, Tensor prediction,
                        Tensor targets, float scale, std::int64_t samples = -1);

}  // namespace stagecoach
