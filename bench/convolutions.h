// Square convolutions as benchmarks and tests list them.
#pragma once

#include "kernels/cuda/conv2d_problem.h"

namespace stagecoach::cuda {

struct Convolution {
  const char* name;
  std::int64_t channels, side, outputs, kernel, stride, padding;

  ConvProblem problem(ConvKind kind, Precision precision, std::int64_t images) const {
    return {.kind = kind,
            .precision = precision,
            .n = images,
            .c = channels,
            .h = side,
            .w = side,
            .o = outputs,
            .kh = kernel,
            .kw = kernel,
            .stride_h = stride,
            .stride_w = stride,
            .padding_h = padding,
            .padding_w = padding};
  }
};

// Those of AlexNet at 224 x 224.
inline constexpr Convolution kAlexNetConvolutions[] = {
    {"conv1", 3, 224, 64, 11, 4, 2},  {"conv2", 64, 27, 192, 5, 1, 2},
    {"conv3", 192, 13, 384, 3, 1, 1}, {"conv4", 384, 13, 256, 3, 1, 1},
    {"conv5", 256, 13, 256, 3, 1, 1},
};

}  // namespace stagecoach::cuda
