// Convolution as matrix multiplication: the inputs of every output pixel become a row of a matrix.
#pragma once

#include "kernels/cpu/conv2d.h"

namespace stagecoach::cpu {

// They fit every shape.
extern const Conv2dForward kIm2colForward;
extern const Conv2dBackwardInput kIm2colBackwardInput;
extern const Conv2dBackwardWeight kIm2colBackwardWeight;

// columns [row_end - row_begin, tap_end - tap_begin]: the inputs (zeros in the padding) that taps
// [tap_begin, tap_end) of the output pixels [row_begin, row_end), counted over all images, read.
void im2col(const Conv2dShape& shape, const float* input, std::int64_t row_begin,
            std::int64_t row_end, std::int64_t tap_begin, std::int64_t tap_end, float* columns);

// Adds the rows of `columns` (all taps) to the inputs they came from.
void col2im_add(const Conv2dShape& shape, const float* columns, std::int64_t row_begin,
                std::int64_t row_end, float* input_grad);

}  // namespace stagecoach::cpu
