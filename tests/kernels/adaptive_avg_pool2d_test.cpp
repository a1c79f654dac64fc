#include "kernels/adaptive_avg_pool2d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::bytes_of;
using testing::expect_error;
using testing::expect_same_bytes_everywhere;
using testing::filled_tensor;
using testing::random_tensor;
using testing::run_on_context;

struct Case {
  std::int64_t n, c, h, w, out_h, out_w;
  TensorSpec input() const { return channels_last(n, c, h, w); }
  TensorSpec output() const { return channels_last(n, c, out_h, out_w); }
};

class AdaptiveAvgPool2dTest : public ::testing::TestWithParam<Case> {};

// PyTorch's bounds of the window of output i.
std::int64_t first(std::int64_t i, std::int64_t size, std::int64_t outputs) {
  return static_cast<std::int64_t>(
      std::floor(static_cast<double>(i * size) / static_cast<double>(outputs)));
}
std::int64_t last(std::int64_t i, std::int64_t size, std::int64_t outputs) {
  return static_cast<std::int64_t>(
      std::ceil(static_cast<double>((i + 1) * size) / static_cast<double>(outputs)));
}

// Calls body(n, c, oh, ow, h, w, share): the output (oh, ow) has `share` of the input (h, w).
template <typename Body>
void for_each_share(const Case& p, const Body& body) {
  for (std::int64_t n = 0; n < p.n; ++n)
    for (std::int64_t c = 0; c < p.c; ++c)
      for (std::int64_t oh = 0; oh < p.out_h; ++oh)
        for (std::int64_t ow = 0; ow < p.out_w; ++ow) {
          const std::int64_t top = first(oh, p.h, p.out_h), bottom = last(oh, p.h, p.out_h);
          const std::int64_t left = first(ow, p.w, p.out_w), right = last(ow, p.w, p.out_w);
          const double share = 1.0 / static_cast<double>((bottom - top) * (right - left));
          for (std::int64_t h = top; h < bottom; ++h)
            for (std::int64_t w = left; w < right; ++w) body(n, c, oh, ow, h, w, share);
        }
}

void expect_near(const Tensor& result, const std::vector<double>& expected) {
  for (std::int64_t i = 0; i < result.elements(); ++i) {
    ASSERT_NEAR(result.as<float>()[i], expected[static_cast<std::size_t>(i)], 2e-6) << i;
  }
}

TEST_P(AdaptiveAvgPool2dTest, AveragesEachWindow) {
  const Case& p = GetParam();
  const OwnedTensor input = random_tensor(p.input(), 1);
  const OwnedTensor output = filled_tensor(p.output(), NAN);
  run_on_context(2, [&](Context& context) {
    adaptive_avg_pool2d_forward(context, output.tensor, input.tensor);
  });
  std::vector<double> expected(static_cast<std::size_t>(p.output().elements()));
  for_each_share(p, [&](auto n, auto c, auto oh, auto ow, auto h, auto w, double share) {
    expected[static_cast<std::size_t>(testing::offset_of(p.output(), n, c, oh, ow))] +=
        share * at(input.tensor, n, c, h, w);
  });
  expect_near(output.tensor, expected);
}

TEST_P(AdaptiveAvgPool2dTest, SharesGradientsOut) {
  const Case& p = GetParam();
  const OwnedTensor output_grad = random_tensor(p.output(), 2);
  const OwnedTensor input_grad = filled_tensor(p.input(), NAN);
  run_on_context(2, [&](Context& context) {
    adaptive_avg_pool2d_backward(context, input_grad.tensor, output_grad.tensor);
  });
  std::vector<double> expected(static_cast<std::size_t>(p.input().elements()));
  for_each_share(p, [&](auto n, auto c, auto oh, auto ow, auto h, auto w, double share) {
    expected[static_cast<std::size_t>(testing::offset_of(p.input(), n, c, h, w))] +=
        share * at(output_grad.tensor, n, c, oh, ow);
  });
  expect_near(input_grad.tensor, expected);
}

// The map is linear, so its gradient is its transpose: <y, A x> = <A' y, x>.
TEST_P(AdaptiveAvgPool2dTest, BackwardIsTheTransposeOfForward) {
  const Case& p = GetParam();
  const OwnedTensor x = random_tensor(p.input(), 3), y = random_tensor(p.output(), 4);
  const OwnedTensor forward(p.output()), backward(p.input());
  run_on_context(1, [&](Context& context) {
    adaptive_avg_pool2d_forward(context, forward.tensor, x.tensor);
    adaptive_avg_pool2d_backward(context, backward.tensor, y.tensor);
  });
  const auto dot = [](const Tensor& a, const Tensor& b) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < a.elements(); ++i) {
      sum += static_cast<double>(a.as<float>()[i]) * b.as<float>()[i];
    }
    return sum;
  };
  EXPECT_NEAR(dot(y.tensor, forward.tensor), dot(backward.tensor, x.tensor), 1e-4);
}

TEST_P(AdaptiveAvgPool2dTest, GivesTheSameBytesEverywhere) {
  const Case& p = GetParam();
  const OwnedTensor x = random_tensor(p.input(), 3);
  expect_same_bytes_everywhere([&](int threads) {
    const OwnedTensor y(p.output()), gradient(p.input());
    run_on_context(threads, [&](Context& context) {
      adaptive_avg_pool2d_forward(context, y.tensor, x.tensor);
      adaptive_avg_pool2d_backward(context, gradient.tensor, y.tensor);
    });
    return bytes_of(gradient.tensor);
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, AdaptiveAvgPool2dTest,
                         ::testing::Values(Case{2, 64, 6, 6, 6, 6},    // AlexNet's
                                           Case{1, 5, 13, 13, 6, 6},   //
                                           Case{2, 3, 1, 1, 6, 6},     // copies
                                           Case{1, 17, 5, 5, 3, 3},    //
                                           Case{1, 4, 7, 3, 2, 5},     // fewer rows, more columns
                                           Case{3, 1, 2, 9, 1, 1},     // the mean
                                           Case{1, 2, 12, 8, 4, 2}));  // divides

TEST(AdaptiveAvgPool2d, CopiesWhenTheSizesAreEqual) {
  const OwnedTensor input = random_tensor(channels_last(2, 9, 6, 5), 1), output(input.tensor.spec);
  run_on_context(1, [&](Context& context) {
    adaptive_avg_pool2d_forward(context, output.tensor, input.tensor);
  });
  EXPECT_EQ(bytes_of(output.tensor), bytes_of(input.tensor));
}

TEST(AdaptiveAvgPool2d, RefusesOtherTensors) {
  Context context;
  const OwnedTensor input(channels_last(2, 3, 4, 4)), other(channels_last(2, 4, 2, 2));
  const OwnedTensor plain(row_major({2, 3, 2, 2})), empty(channels_last(2, 3, 0, 2));
  expect_error([&] { adaptive_avg_pool2d_forward(context, other.tensor, input.tensor); },
               {"adaptive_avg_pool2d_forward", "[2, 3, OH, OW]", "[2, 4, 2, 2]"});
  expect_error([&] { adaptive_avg_pool2d_forward(context, plain.tensor, input.tensor); },
               {"output F32 [2, 3, OH, OW] channels_last", "got F32 [2, 3, 2, 2]"});
  expect_error([&] { adaptive_avg_pool2d_forward(context, empty.tensor, input.tensor); },
               {"OH and OW >= 1", "[2, 3, 0, 2]"});
  expect_error(
      [&] { adaptive_avg_pool2d_backward(context, plain.tensor, other.tensor); },
      {"adaptive_avg_pool2d_backward", "input F32 or BF16 channels_last", "got F32 [2, 3, 2, 2]"});
}

}  // namespace
}  // namespace stagecoach
