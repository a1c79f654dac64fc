// The convolutions that a GPU's tests compute, of which cuDNN is also asked where there is no GPU.
#pragma once

#include "kernels/conv2d.h"

namespace stagecoach::testing {

struct Conv2dCase {
  std::int64_t images, channels, height, width, outputs, kernel_h, kernel_w;
  Conv2dOptions options;
};

// Few output pixels: their sums of -1, 0 and 1 are numbers that BF16 holds, so all results are
// exact, in whatever order they were added.
inline const Conv2dCase kConv2dCases[] = {
    {2, 3, 35, 39, 4, 11, 11, {4, 4, 2, 2}},  // AlexNet's first: blocks of 4 x 4
    {1, 3, 34, 30, 8, 7, 7, {2, 2, 3, 3}},    // blocks of 2 x 2, of 12 channels
    {2, 1, 21, 17, 3, 9, 5, {8, 8, 1, 1}},    // blocks of 8 x 8, more than the kernel's width
    {2, 3, 9, 8, 5, 3, 3, {1, 1, 1, 1}},      // no stride: channels of zeros
    {1, 3, 16, 15, 5, 3, 5, {2, 1, 1, 2}},    // two strides: the same
    {1, 3, 16, 15, 5, 3, 3, {2, 2, 0, 1}},    // two paddings: the same
    {2, 20, 8, 7, 6, 3, 3, {2, 2, 1, 1}},     // blocks would be large: the same
    {2, 16, 7, 9, 6, 3, 3, {1, 1, 1, 1}},     // nothing to pack
    {2, 8, 9, 9, 6, 1, 1, {2, 2, 0, 0}},
};

}  // namespace stagecoach::testing
