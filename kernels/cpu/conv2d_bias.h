// The gradient of a convolution's bias, whichever algorithm the weight's takes.
#pragma once

#include "kernels/cpu/conv2d.h"

namespace stagecoach::cpu {

// Channels of a task.
inline constexpr std::int64_t kBiasChannels = 64;

// bias_grad[begin:end], of at most kBiasChannels: the pixels of an image are one sum, ascending;
// those of the images [first_image, last_image) are added one after the other. `overwrite`: the
// first one takes the place of what is there.
void conv2d_bias_grad(const Conv2dShape& shape, std::int64_t first_image, std::int64_t last_image,
                      std::int64_t begin, std::int64_t end, float* bias_grad,
                      const float* output_grad, bool overwrite);

}  // namespace stagecoach::cpu
