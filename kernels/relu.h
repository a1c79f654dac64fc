// ReLU: y = max(x, 0); NaN stays NaN, as in PyTorch.
#pragma once

#include "core/context.h"

namespace stagecoach {

// Any shape, F32 or (on a GPU) BF16. `output` may be `input`.
void relu_forward(Context& context, Tensor output, Tensor input);

// input_grad = output_grad where output > 0, else 0. `input_grad` may be `output_grad`.
void relu_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor output);

}  // namespace stagecoach
