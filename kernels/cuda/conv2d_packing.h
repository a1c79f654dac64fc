// Inputs with few channels, such as images, rearranged for the tensor cores, which want channels in
// eights. Without it cuDNN rearranges them itself, at every call and in a far larger workspace.
#pragma once

#include "kernels/cuda/conv2d_problem.h"

namespace stagecoach::cuda {

// What is computed instead of `problem`; `problem` itself where nothing is to be gained.
//
// A strided convolution becomes one of stride 1 over blocks: blocks of stride x stride pixels, one
// after another, are the pixels of the packed input, and their c * stride * stride values its
// channels. AlexNet's first, x [n, 3, 224, 224], kernel 11, stride 4, padding 2, becomes
// x [n, 48, 57, 57], kernel 3. The padding is part of the packed input, as far as outputs need it.
// Where there is no stride, or blocks would be too large, channels of zeros are added.
ConvProblem packed_problem(const ConvProblem& problem);

// The side of the blocks, in pixels; 1 where channels are added, 0 where `problem` is left as it
// is.
std::int64_t packing_block(const ConvProblem& problem);

}  // namespace stagecoach::cuda
