// Adaptive average pooling's kernels against the CPU's.
#include <gtest/gtest.h>

#include "kernels/adaptive_avg_pool2d.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

struct Case {
  std::int64_t channels, in_h, in_w, out_h, out_w;
};

class AdaptiveAvgPool2dShim : public ::testing::TestWithParam<std::tuple<DType, Case>> {};

TEST_P(AdaptiveAvgPool2dShim, IsTheCpus) {
  const auto [dtype, c] = GetParam();
  const TensorSpec input = channels_last(3, c.channels, c.in_h, c.in_w, dtype);
  const TensorSpec output = channels_last(3, c.channels, c.out_h, c.out_w, dtype);
  const auto run = [](Context& context, const std::vector<Tensor>& t) {
    adaptive_avg_pool2d_forward(context, t[0], t[1]);
    adaptive_avg_pool2d_backward(context, t[2], t[3]);
  };
  const auto inputs = testing::random_inputs({output, input, input, output}, 23);
  EXPECT_TRUE(testing::same_values(testing::on_gpu(inputs, run), testing::on_cpu(inputs, run)));
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, AdaptiveAvgPool2dShim,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                       ::testing::Values(Case{64, 6, 6, 6, 6}, Case{8, 13, 7, 6, 6},
                                         Case{12, 3, 4, 6, 7}, Case{5, 7, 7, 1, 1},
                                         Case{1, 1, 1, 3, 2}, Case{20, 5, 11, 4, 3})));

}  // namespace
}  // namespace stagecoach
