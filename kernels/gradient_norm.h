// The norm of all gradients of a network, whose parameters may lie in several places, and clipping
// by it (torch.nn.utils.clip_grad_norm_). Every parameter's sum of squares has an order of its own,
// and they are added in the network's order: the norm does not depend on how the network is split.
#pragma once

#include <span>

#include "core/context.h"

namespace stagecoach {

// What sum_of_squares() needs of the context's workspace.
inline constexpr std::int64_t kSumOfSquaresWorkspace = 8 * (16384 + 128);

// *sum = the sum of the squares of `values`, F32, in double. `sum` is memory that the host and the
// device reach (Buffer::pinned).
void sum_of_squares(Context& context, double* sum, Tensor values);

// norms[step % kNormsKept], with the step of the last begin_step(): so it stays while the next
// steps run.
inline constexpr std::int64_t kNormsKept = 4;

// norm = the root of the sum of `sums`, ascending. Where max_norm / (norm + 1e-6) is below 1, the
// gradients, F32 [n] (undefined: there are none here), are multiplied by it. `norms`: kNormsKept
// numbers, one of which becomes the norm; null: none does. Memory as of sum_of_squares().
void clip_gradients(Context& context, Tensor gradients, std::span<const double> sums,
                    double max_norm, double* norms = nullptr);

}  // namespace stagecoach
