// Optimizer steps over flat buffers, as torch.optim.SGD and torch.optim.Adam define them.
#pragma once

#include "core/context.h"
#include "kernels/step.h"

namespace stagecoach {

// What does not change from step to step; the learning rate may, and is told by begin_step().
struct SgdOptions {
  float momentum = 0.9f;
  float weight_decay = 0.0f;
};

// g = grad + weight_decay * parameter; velocity = momentum * velocity + g;
// parameter -= learning_rate * velocity, with the learning rate of the last begin_step(). All fp32
// [n]; velocity starts as zeros. `copy`, where it is defined (on a GPU only), is BF16 [n] and gets
// the new parameters. Nothing is written when the context's failure flag is raised.
void sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad,
              const SgdOptions& options, Tensor copy = {});

struct AdamOptions {
  double beta1 = 0.9;  // double: 1 - 0.999f is 1.3e-5 off
  double beta2 = 0.999;
  float epsilon = 1e-8f;
  float weight_decay = 0.0f;  // added to the gradient, as torch.optim.Adam does
};

// What begin_step() is told for adam_step; the first step is 1. Throws Error for one below.
AdamRates adam_rates(float learning_rate, const AdamOptions& options, std::int64_t step);

// m and v are the moments (start as zeros); with the rates of the last begin_step(),
// parameter -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + epsilon).
// `copy` and the failure flag as in sgd_step.
void adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad,
               const AdamOptions& options, Tensor copy = {});

}  // namespace stagecoach
