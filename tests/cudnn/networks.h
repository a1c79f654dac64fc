// The convolutions of AlexNet and VGG16 at 224 x 224, as torchvision has them, and what plans for
// them are asked of. No GPU is needed: plans are made for the description of one.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/error.h"
#include "kernels/cuda/conv2d_choices.h"
#include "kernels/cuda/conv2d_packing.h"

// At the start of a test: without cuDNN there is nothing to test.
#define SKIP_WITHOUT_CUDNN()                      \
  try {                                           \
    cudnn();                                      \
  } catch (const Error& error) {                  \
    GTEST_SKIP() << "no cuDNN: " << error.what(); \
  }

namespace stagecoach::cuda::testing {

// A square one.
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

inline const std::vector<Convolution>& alexnet() {
  static const std::vector<Convolution> all = {{"alexnet.0", 3, 224, 64, 11, 4, 2},
                                               {"alexnet.3", 64, 27, 192, 5, 1, 2},
                                               {"alexnet.6", 192, 13, 384, 3, 1, 1},
                                               {"alexnet.8", 384, 13, 256, 3, 1, 1},
                                               {"alexnet.10", 256, 13, 256, 3, 1, 1}};
  return all;
}

// Those of different sizes.
inline const std::vector<Convolution>& vgg16() {
  static const std::vector<Convolution> all = {
      {"vgg.0", 3, 224, 64, 3, 1, 1},    {"vgg.2", 64, 224, 64, 3, 1, 1},
      {"vgg.5", 64, 112, 128, 3, 1, 1},  {"vgg.7", 128, 112, 128, 3, 1, 1},
      {"vgg.10", 128, 56, 256, 3, 1, 1}, {"vgg.12", 256, 56, 256, 3, 1, 1},
      {"vgg.17", 256, 28, 512, 3, 1, 1}, {"vgg.19", 512, 28, 512, 3, 1, 1},
      {"vgg.24", 512, 14, 512, 3, 1, 1}};
  return all;
}

inline constexpr ConvKind kKinds[] = {ConvKind::kForwardRelu, ConvKind::kBackwardInput,
                                      ConvKind::kBackwardWeight};
inline constexpr std::int64_t kBatches[] = {8, 32, 128, 512, 1024};

// As the operations of a GPU compute it.
inline ConvProblem as_run(const ConvProblem& problem) {
  return problem.kind == ConvKind::kBackwardInput ? problem : packed_problem(problem);
}

// "h100", "a100", "t4".
inline CudnnDevice device_of(const std::string& name) {
  std::ifstream file(std::string(STAGECOACH_TEST_DATA) + "/cudnn_" + name + ".json");
  EXPECT_TRUE(file.is_open()) << name;
  return CudnnDevice(std::string(std::istreambuf_iterator<char>(file), {}));
}

}  // namespace stagecoach::cuda::testing
