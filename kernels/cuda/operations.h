// Own kernels behind the operations of cuDNN and cuBLASLt: for convolutions and linear layers.
#pragma once

#include "core/context.h"
#include "kernels/gradient_mode.h"

namespace stagecoach::cuda {

// bias_grad [C] F32: sums of output_grad [rows, C] over the rows (channels_last of rank 4 counts as
// [N * H * W, C]); written, or added to. `workspace`:
// bias_grad_workspace_bytes(rows, C).
std::int64_t bias_grad_workspace_bytes(std::int64_t rows, std::int64_t channels);
void bias_grad(Context& context, Tensor bias_grad, Tensor output_grad, GradientMode mode,
               void* workspace);

// sum += addend; both F32, of equally many elements.
void accumulate(Context& context, Tensor sum, Tensor addend);

// `input` [N, C, H, W] becomes `output` [N, C', H', W'], each pixel of which holds a block of
// pixels of the input: channel (dy * block + dx) * C + c of pixel (y, x) is channel c of the
// input's pixel (y * block + dy - padding, x * block + dx - padding), and 0 where there is none or
// from channel C * block * block on. Both channels_last. Casts F32 to BF16 where the dtypes say so.
struct SpaceToDepth {
  std::int64_t block = 1, padding = 0;
};
void space_to_depth(Context& context, Tensor output, Tensor input, const SpaceToDepth& options);
// The way back, for gradients of weights, padding 0: `output` [N, C, H, W] F32 gets, or is added,
// what lies at its places in `input` [N, C', H', W'] F32; the rest of the input is dropped.
void depth_to_space(Context& context, Tensor output, Tensor input, const SpaceToDepth& options,
                    GradientMode mode);

}  // namespace stagecoach::cuda
