// Blocks of pixels as channels, and a strided convolution that becomes one of stride 1 by it.
#include <gtest/gtest.h>

#include "kernels/cuda/operations.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using cuda::SpaceToDepth;
using testing::Gpu;
using testing::same_values;

// Logical elements, in double.
struct Image {
  Image(const TensorSpec& of, const std::vector<float>& stored) : spec(of), values(stored) {}
  double at(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const {
    const Shape& s = spec.shape;
    if (h < 0 || w < 0 || h >= s[2] || w >= s[3] || c >= s[1]) return 0.0;
    return values[static_cast<std::size_t>(testing::offset_of(spec, n, c, h, w))];
  }
  TensorSpec spec;
  std::vector<float> values;
};

// Calls body(n, c, h, w) for all elements.
template <typename Body>
void for_each(const Shape& s, const Body& body) {
  for (std::int64_t n = 0; n < s[0]; ++n)
    for (std::int64_t c = 0; c < s[1]; ++c)
      for (std::int64_t h = 0; h < s[2]; ++h)
        for (std::int64_t w = 0; w < s[3]; ++w) body(n, c, h, w);
}

struct Case {
  DType to, from;
  std::int64_t channels, height, width, block, padding, out_channels, out_height, out_width;
};

class SpaceToDepthShim : public ::testing::TestWithParam<Case> {};

TEST_P(SpaceToDepthShim, MovesWhatTheContractSays) {
  const Case& c = GetParam();
  const TensorSpec from = channels_last(2, c.channels, c.height, c.width, c.from);
  const TensorSpec to = channels_last(2, c.out_channels, c.out_height, c.out_width, c.to);
  const OwnedTensor floats =
      testing::random_tensor(channels_last(2, c.channels, c.height, c.width), 61);
  OwnedTensor input(from);
  for (std::int64_t i = 0; i < from.elements(); ++i) {
    const float value = floats.tensor.as<float>()[i];
    if (c.from == DType::kF32) input.tensor.as<float>()[i] = value;
    if (c.from == DType::kBF16) input.tensor.as<BFloat16>()[i] = BFloat16(value);
  }
  Gpu gpu;
  const Tensor output = gpu.put(std::vector<float>(static_cast<std::size_t>(to.elements()), 7.0f));
  const Tensor blocks{output.data, to, output.device};
  cuda::space_to_depth(gpu.context(), blocks, gpu.put(input.tensor), {c.block, c.padding});
  const Image got(to, gpu.get(blocks)), pixels(from, testing::values_of(input.tensor));
  for_each(to.shape, [&](std::int64_t n, std::int64_t k, std::int64_t y, std::int64_t x) {
    const std::int64_t dy = k / c.channels / c.block, dx = k / c.channels % c.block;
    double expected = 0.0;
    if (dy < c.block) {
      expected =
          pixels.at(n, k % c.channels, y * c.block + dy - c.padding, x * c.block + dx - c.padding);
    }
    if (c.to == DType::kBF16) {
      expected = static_cast<float>(BFloat16(static_cast<float>(expected)));
    }
    ASSERT_EQ(got.at(n, k, y, x), expected) << n << ", " << k << ", " << y << ", " << x;
  });
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, SpaceToDepthShim,
    ::testing::Values(Case{DType::kF32, DType::kF32, 3, 24, 20, 4, 2, 48, 7, 6},
                      Case{DType::kBF16, DType::kF32, 3, 24, 20, 4, 2, 48, 7, 6},
                      Case{DType::kBF16, DType::kBF16, 3, 11, 11, 4, 0, 48, 3, 3},
                      Case{DType::kF32, DType::kF32, 3, 11, 11, 4, 0, 48, 3, 3},
                      Case{DType::kBF16, DType::kF32, 3, 9, 7, 2, 1, 16, 5, 4},  // 4 are zeros
                      Case{DType::kF32, DType::kF32, 5, 7, 9, 3, 1, 45, 3, 4},
                      Case{DType::kBF16, DType::kBF16, 1, 5, 5, 1, 0, 8, 5, 5}));

// The first convolution of AlexNet, with fewer outputs and a smaller image: 11 x 11, stride 4,
// padding 2, becomes 3 x 3 of stride 1 over the blocks.
TEST(SpaceToDepthShim, ConvolutionOverBlocksIsTheStridedOne) {
  constexpr std::int64_t kImages = 2, kOutputs = 3, kSide = 32, kOut = 7;
  const SpaceToDepth of_input{4, 2}, of_weight{4, 0};
  const TensorSpec x = channels_last(kImages, 3, kSide, kSide),
                   w = channels_last(kOutputs, 3, 11, 11);
  const OwnedTensor input = testing::random_tensor(x, 1), weight = testing::random_tensor(w, 2);
  Gpu gpu;
  const Tensor x_blocks = gpu.make(channels_last(kImages, 48, 9, 9));
  const Tensor w_blocks = gpu.make(channels_last(kOutputs, 48, 3, 3));
  cuda::space_to_depth(gpu.context(), x_blocks, gpu.put(input.tensor), of_input);
  cuda::space_to_depth(gpu.context(), w_blocks, gpu.put(weight.tensor), of_weight);
  const auto convolution = [](const Image& image, const Image& kernel, std::int64_t stride,
                              std::int64_t padding, std::int64_t n, std::int64_t o, std::int64_t h,
                              std::int64_t v) {
    double sum = 0.0;
    for_each(kernel.spec.shape.with(0, 1),
             [&](std::int64_t, std::int64_t c, std::int64_t y, std::int64_t z) {
               sum += kernel.at(o, c, y, z) *
                      image.at(n, c, h * stride + y - padding, v * stride + z - padding);
             });
    return sum;
  };
  const Image image(x, testing::values_of(input.tensor)),
      kernel(w, testing::values_of(weight.tensor));
  const Image image_blocks(x_blocks.spec, gpu.get(x_blocks));
  const Image kernel_blocks(w_blocks.spec, gpu.get(w_blocks));
  for_each({kImages, kOutputs, kOut, kOut},
           [&](std::int64_t n, std::int64_t o, std::int64_t h, std::int64_t v) {
             ASSERT_NEAR(convolution(image_blocks, kernel_blocks, 1, 0, n, o, h, v),
                         convolution(image, kernel, 4, 2, n, o, h, v), 1e-12);
           });
}

TEST(DepthToSpaceShim, IsTheWayBackAndDropsPaddedTaps) {
  const TensorSpec w = channels_last(4, 3, 11, 11), blocks = channels_last(4, 48, 3, 3);
  const OwnedTensor weight = testing::random_tensor(w, 5);
  Gpu gpu;
  const Tensor packed = gpu.make(blocks), taps = gpu.make(w);
  cuda::space_to_depth(gpu.context(), packed, gpu.put(weight.tensor), {4, 0});
  cuda::depth_to_space(gpu.context(), taps, packed, {4, 0}, GradientMode::kOverwrite);
  EXPECT_TRUE(same_values(gpu.get(taps), testing::values_of(weight.tensor)));

  // A gradient is not zero at the taps that padding made; none of it may come back.
  std::vector<float> gradient(static_cast<std::size_t>(blocks.elements()));
  double kept = 0.0;
  for_each(blocks.shape, [&](std::int64_t n, std::int64_t k, std::int64_t y, std::int64_t x) {
    const bool is_tap = y * 4 + k / 12 < 11 && x * 4 + k / 3 % 4 < 11;
    const float value = is_tap ? 2.0f : std::nanf("");
    gradient[static_cast<std::size_t>(testing::offset_of(blocks, n, k, y, x))] = value;
    kept += is_tap ? 1.0 : 0.0;
  });
  EXPECT_EQ(kept, w.elements());
  const Tensor from{gpu.put(gradient).data, blocks, testing::kGpu};
  cuda::depth_to_space(gpu.context(), taps, from, {4, 0}, GradientMode::kOverwrite);
  for (const float value : gpu.get(taps)) ASSERT_EQ(value, 2.0f);
  cuda::depth_to_space(gpu.context(), taps, from, {4, 0}, GradientMode::kAccumulate);
  for (const float value : gpu.get(taps)) ASSERT_EQ(value, 4.0f);
}

}  // namespace
}  // namespace stagecoach
