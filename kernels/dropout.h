// Dropout as torch.nn.functional.dropout in training: each element is 0 with probability p, else
// scaled by 1 / (1 - p). The mask is a pure function of `DropoutMask` and the step of the last
// begin_step() (kernels/step.h), and is never stored.
#pragma once

#include "core/context.h"
#include "core/philox.h"

namespace stagecoach {

// Row n, element e of the row (row-major) is dropped when
// uniform01(RandomStream{seed, kDropout, layer, step, first_sample + n}.word(e)) < p.
struct DropoutMask {
  float p = 0.5f;  // in [0, 1); 0 copies
  std::uint64_t seed = 0;
  std::uint32_t layer = 0;
  std::uint32_t first_sample = 0;  // index of row 0 in the global batch
};

// `output` and `input`: F32 or (on a GPU) BF16 [N, F] row-major; they may be the same tensor.
void dropout_forward(Context& context, Tensor output, Tensor input, const DropoutMask& mask);
// `input_grad` may be `output_grad`.
void dropout_backward(Context& context, Tensor input_grad, Tensor output_grad,
                      const DropoutMask& mask);

}  // namespace stagecoach
