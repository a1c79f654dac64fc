#include "kernels/max_pool2d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/relu.h"
#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::bytes_of;
using testing::expect_error;
using testing::expect_same_bytes_everywhere;
using testing::for_each_instruction_set;
using testing::offset_of;
using testing::random_tensor;
using testing::run_on_context;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TensorSpec bytes_like(TensorSpec spec) {
  spec.dtype = DType::kU8;
  return spec;
}

// Input, result and gradients of one pooling.
struct Pooling {
  Pooling(const TensorSpec& spec, const MaxPool2dOptions& pool_options)
      : options(pool_options),
        input(spec),
        output(max_pool2d_output(spec, pool_options)),
        index(bytes_like(output.tensor.spec)),
        output_grad(random_tensor(output.tensor.spec, 7)),
        input_grad(testing::filled_tensor(spec, kNan)) {}

  void run(int threads, MaxPool2dInput kind = MaxPool2dInput::kAny) const {
    run_on_context(threads, [&](Context& context) {
      max_pool2d_forward(context, output.tensor, index.tensor, input.tensor, options, kind);
      max_pool2d_backward(context, input_grad.tensor, output_grad.tensor, index.tensor, options);
    });
  }

  std::uint8_t& index_at(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const {
    return index.tensor.as<std::uint8_t>()[offset_of(index.tensor.spec, n, c, h, w)];
  }

  MaxPool2dOptions options;
  OwnedTensor input, output, index, output_grad, input_grad;
};

// Few different values, so that most windows have ties; some NaN and infinities.
void fill_with_ties(const Tensor& tensor) {
  testing::fill_random(tensor, 3);
  float* data = tensor.as<float>();
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    data[i] = std::floor(data[i] * 3.0f);
    if (i % 29 == 0) data[i] = kNan;
    if (i % 31 == 0) data[i] = -kInfinity;
    if (i % 37 == 0) data[i] = kInfinity;
  }
}

struct Winner {
  float value = -kInfinity;
  std::int64_t h = -1, w = -1;  // in the input
  std::int64_t place = -1;      // in the window
};

// One window, as PyTorch's max_pool2d goes through it.
Winner winner_of(const Pooling& p, std::int64_t n, std::int64_t c, std::int64_t oh,
                 std::int64_t ow) {
  const Shape& in = p.input.tensor.shape();
  Winner winner;
  for (std::int64_t i = 0; i < p.options.kernel_h; ++i) {
    for (std::int64_t j = 0; j < p.options.kernel_w; ++j) {
      const std::int64_t h = oh * p.options.stride_h - p.options.padding_h + i;
      const std::int64_t w = ow * p.options.stride_w - p.options.padding_w + j;
      if (h < 0 || w < 0 || h >= in[2] || w >= in[3]) continue;
      const float x = at(p.input.tensor, n, c, h, w);
      if (winner.place < 0 || x > winner.value || std::isnan(x)) {
        winner = {x, h, w, i * p.options.kernel_w + j};
      }
    }
  }
  return winner;
}

void expect_as_defined(const Pooling& p) {
  const Shape& out = p.output.tensor.shape();
  OwnedTensor expected_grad(p.input.tensor.spec);  // zeros
  for (std::int64_t n = 0; n < out[0]; ++n)
    for (std::int64_t c = 0; c < out[1]; ++c)
      for (std::int64_t oh = 0; oh < out[2]; ++oh)
        for (std::int64_t ow = 0; ow < out[3]; ++ow) {
          const Winner winner = winner_of(p, n, c, oh, ow);
          ASSERT_EQ(p.index_at(n, c, oh, ow), winner.place) << n << c << oh << ow;
          const float value = at(p.output.tensor, n, c, oh, ow);
          if (std::isnan(winner.value)) {
            ASSERT_TRUE(std::isnan(value));
          } else {
            ASSERT_EQ(value, winner.value);
          }
          at(expected_grad.tensor, n, c, winner.h, winner.w) +=
              at(p.output_grad.tensor, n, c, oh, ow);
        }
  // The same floats added in the same order: equal, not near.
  for (std::int64_t i = 0; i < p.input.tensor.elements(); ++i) {
    ASSERT_EQ(p.input_grad.tensor.as<float>()[i], expected_grad.tensor.as<float>()[i]) << i;
  }
}

struct Case {
  std::int64_t n, c, h, w;
  MaxPool2dOptions options;
};

class MaxPool2dTest : public ::testing::TestWithParam<Case> {};

TEST_P(MaxPool2dTest, IsAsDefined) {
  const Case& c = GetParam();
  const Pooling pooling(channels_last(c.n, c.c, c.h, c.w), c.options);
  testing::fill_random(pooling.input.tensor, 1);
  pooling.run(2);
  expect_as_defined(pooling);
}

TEST_P(MaxPool2dTest, DecidesTiesNanAndInfinities) {
  const Case& c = GetParam();
  const Pooling pooling(channels_last(c.n, c.c, c.h, c.w), c.options);
  fill_with_ties(pooling.input.tensor);
  pooling.run(2);
  expect_as_defined(pooling);
}

TEST_P(MaxPool2dTest, GivesTheSameBytesEverywhere) {
  const Case& c = GetParam();
  const Pooling pooling(channels_last(c.n, c.c, c.h, c.w), c.options);
  testing::fill_random(pooling.input.tensor, 1);
  expect_same_bytes_everywhere([&](int threads) {
    pooling.run(threads);
    std::vector<std::uint8_t> all = bytes_of(pooling.output.tensor);
    for (const Tensor& tensor : {pooling.index.tensor, pooling.input_grad.tensor}) {
      const std::vector<std::uint8_t> bytes = bytes_of(tensor);
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  });
}

// B behind a ReLU is that of both.
TEST_P(MaxPool2dTest, DoesTheBackwardOfTheReluBefore) {
  const Case& c = GetParam();
  if (c.options.kernel_h * c.options.kernel_w > kNoPlace) GTEST_SKIP() << "no index for \"none\"";
  const Pooling pooling(channels_last(c.n, c.c, c.h, c.w), c.options);
  fill_with_ties(pooling.input.tensor);
  run_on_context(1, [&](Context& context) {
    relu_forward(context, pooling.input.tensor, pooling.input.tensor);
  });
  pooling.run(2);
  const OwnedTensor expected = testing::copy_of(pooling.input_grad.tensor);
  run_on_context(1, [&](Context& context) {
    relu_backward(context, expected.tensor, expected.tensor, pooling.input.tensor);
  });
  const auto output = bytes_of(pooling.output.tensor);
  for_each_instruction_set([&](const std::string& name) {
    pooling.run(2, MaxPool2dInput::kOutputOfRelu);
    EXPECT_EQ(bytes_of(pooling.output.tensor), output) << name;
    EXPECT_EQ(bytes_of(pooling.input_grad.tensor), bytes_of(expected.tensor)) << name;
  });
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, MaxPool2dTest,
    ::testing::Values(Case{2, 64, 13, 13, {3, 3, 2, 2, 0, 0}},    // AlexNet's
                      Case{1, 130, 8, 6, {2, 2, 2, 2, 0, 0}},     // VGG's; two blocks and a rest
                      Case{2, 3, 7, 9, {3, 3, 1, 1, 1, 1}},       // every place in nine windows
                      Case{1, 65, 11, 10, {5, 3, 1, 2, 2, 1}},    // oblong
                      Case{3, 1, 1, 1, {1, 1, 1, 1, 0, 0}},       //
                      Case{2, 7, 9, 8, {2, 2, 3, 4, 0, 0}},       // gaps between the windows
                      Case{1, 63, 5, 4, {5, 4, 1, 1, 0, 0}},      // one window
                      Case{1, 16, 16, 17, {16, 16, 1, 1, 0, 0}},  // 256 places
                      Case{1, 5, 3, 3, {4, 4, 2, 2, 2, 2}}));     // padding on every side

// An infinitely negative input wins over padding.
TEST(MaxPool2d, PaddingNeverWins) {
  const Pooling pooling(channels_last(1, 2, 2, 2), {3, 3, 2, 2, 1, 1});
  for (int i = 0; i < 8; ++i) pooling.input.tensor.as<float>()[i] = -kInfinity;
  pooling.run(1);
  for (std::int64_t c = 0; c < 2; ++c) {
    EXPECT_EQ(at(pooling.output.tensor, 0, c, 0, 0), -kInfinity);
    EXPECT_EQ(pooling.index_at(0, c, 0, 0), 4);  // the first place inside the image
  }
}

TEST(MaxPool2d, GradientAgreesWithFiniteDifferences) {
  const Pooling pooling(channels_last(1, 2, 6, 5), {3, 2, 2, 1, 1, 1});
  float* x = pooling.input.tensor.as<float>();
  // Different everywhere, and further apart than the step.
  for (int i = 0; i < 60; ++i) x[i] = static_cast<float>(i * 37 % 61);
  const auto objective = [&] {
    pooling.run(1);
    double sum = 0.0;
    for (std::int64_t i = 0; i < pooling.output.tensor.elements(); ++i) {
      sum += static_cast<double>(pooling.output.tensor.as<float>()[i]) *
             pooling.output_grad.tensor.as<float>()[i];
    }
    return sum;
  };
  objective();
  const OwnedTensor gradient = testing::copy_of(pooling.input_grad.tensor);
  for (int i = 0; i < 60; ++i) {
    const float middle = x[i];
    x[i] = middle + 0.25f;
    const double above = objective();
    x[i] = middle - 0.25f;
    const double below = objective();
    x[i] = middle;
    ASSERT_NEAR(gradient.tensor.as<float>()[i], (above - below) / 0.5, 1e-5) << i;
  }
}

TEST(MaxPool2d, RefusesOtherOptions) {
  const TensorSpec input = channels_last(1, 2, 8, 8);
  const auto expect = [&](const MaxPool2dOptions& options, const char* part, const char* got) {
    expect_error([&] { max_pool2d_output(input, options); }, {"max_pool2d", part, got});
  };
  expect({0, 2, 1, 1, 0, 0}, "1 to 256", "0 x 2");
  expect({17, 16, 1, 1, 0, 0}, "1 to 256", "17 x 16");
  expect({2, 2, 0, 1, 0, 0}, "strides >= 1", "0 x 1");
  expect({2, 2, 1, 1, -1, 0}, "half the kernel", "-1 x 0");
  expect({3, 3, 1, 1, 1, 2}, "half the kernel", "1 x 2");
  expect({9, 2, 1, 1, 0, 0}, "padded input, 8 x 8", "9 x 2");
}

TEST(MaxPool2d, RefusesOtherTensors) {
  const MaxPool2dOptions options;
  expect_error(
      [&] {
        max_pool2d_output(row_major({1, 2, 8, 8}), options);
      },
      {"max_pool2d", "input F32 or BF16 channels_last", "got F32 [1, 2, 8, 8]"});
  expect_error([&] { max_pool2d_output(row_major({8}), options); }, {"rank 4", "[8]"});
  Context context;
  const OwnedTensor input(channels_last(1, 2, 8, 8)), output(channels_last(1, 2, 4, 4));
  const OwnedTensor index(channels_last(1, 2, 4, 4, DType::kU8));
  expect_error(
      [&] { max_pool2d_forward(context, output.tensor, output.tensor, input.tensor, options); },
      {"max_pool2d_forward", "index U8 [1, 2, 4, 4]", "F32"});
  expect_error(
      [&] { max_pool2d_forward(context, input.tensor, index.tensor, input.tensor, options); },
      {"max_pool2d_forward", "output F32 [1, 2, 4, 4]", "[1, 2, 8, 8]"});
  expect_error(
      [&] { max_pool2d_backward(context, input.tensor, input.tensor, index.tensor, options); },
      {"max_pool2d_backward", "output_grad F32 [1, 2, 4, 4]", "[1, 2, 8, 8]"});
}

}  // namespace
}  // namespace stagecoach
