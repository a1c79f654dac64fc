// Optimizer steps over flat buffers, as torch.optim.SGD and torch.optim.Adam define them.
#pragma once

#include "core/context.h"

namespace stagecoach {

struct SgdOptions {
  float learning_rate = 0.01f;
  float momentum = 0.9f;
  float weight_decay = 0.0f;
};

// g = grad + weight_decay * parameter; velocity = momentum * velocity + g;
// parameter -= learning_rate * velocity. All fp32 [n]; velocity starts as zeros. `copy`, where it
// is defined (on a GPU only), is BF16 [n] and gets the new parameters. On a GPU the learning rate
// is that of the last begin_step() (kernels/step.h), and nothing is written when the context's
// failure flag is raised.
void sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad,
              const SgdOptions& options, Tensor copy = {});

struct AdamOptions {
  float learning_rate = 1e-3f;
  double beta1 = 0.9;  // double: 1 - 0.999f is 1.3e-5 off
  double beta2 = 0.999;
  float epsilon = 1e-8f;
  float weight_decay = 0.0f;  // added to the gradient, as torch.optim.Adam does
};

// The factors of Adam that depend on the step: lr / (1 - beta1^step) and sqrt(1 - beta2^step).
struct AdamRates {
  float rate = 0, root2 = 1;
};
AdamRates adam_rates(const AdamOptions& options, std::int64_t step);  // the first step is 1

// Step number `step` (the first is 1): m and v are the moments (start as zeros);
// parameter -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + epsilon).
// `copy` and the failure flag as in sgd_step; on a GPU the rates are those of begin_step().
void adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad,
               const AdamOptions& options, std::int64_t step, Tensor copy = {});

}  // namespace stagecoach
