// Channel sums: what a kernel that writes the gradient of a convolution's output adds up on the
// way, so that the gradient of the bias need not read it again.
#pragma once

#include "core/context.h"

namespace stagecoach {

// Pixels of one sum. Whoever makes the sums has the same bits: a stage may have been cut off from
// the one that writes the gradient.
inline constexpr std::int64_t kChannelSumPixels = 16;

// For a gradient [N, C, H, W] channels_last the tensor [ceil(N * H * W / kChannelSumPixels), C]
// F32: row i is the sum of the pixels [i * kChannelSumPixels, + kChannelSumPixels), one after
// another in their order in memory, of the values as they are written.
TensorSpec channel_sums_spec(const TensorSpec& gradient);

// Throws Error unless `sums` is undefined, or of that spec and on a GPU.
void check_channel_sums(const char* operation, const Context& context, const Tensor& sums,
                        const TensorSpec& gradient);

}  // namespace stagecoach
