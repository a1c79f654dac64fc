// Batch normalisation's kernels against the CPU's, and the failure flag.
#include <gtest/gtest.h>

#include "kernels/batch_norm2d.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::Gpu;

struct Case {
  DType dtype;
  std::int64_t images, channels, height, width;
};

class BatchNorm2dShim : public ::testing::TestWithParam<Case> {};

// Sums are made in double in the same order; a GPU may round where the CPU does not.
TEST_P(BatchNorm2dShim, IsTheCpus) {
  const auto [dtype, images, channels, height, width] = GetParam();
  const TensorSpec image = channels_last(images, channels, height, width, dtype);
  const TensorSpec channel = row_major({channels}), parameter = row_major({channels}, dtype);
  const auto inputs = testing::random_inputs(
      {image, image, image, image, parameter, parameter, channel, channel, channel, channel}, 5);
  const auto run = [](Context& context, const std::vector<Tensor>& t) {
    const Tensor &x = t[0], &y_grad = t[1], &y = t[2], &x_grad = t[3], &weight = t[4];
    const Tensor &bias = t[5], &mean = t[6], &variance = t[7];
    constexpr float kEps = 1e-5f;
    const OwnedTensor workspace(row_major({batch_norm2d_workspace_bytes(x.spec) / 4}),
                                context.device());
    context.set_workspace(workspace.tensor);
    batch_norm2d_statistics(context, mean, variance, x);
    batch_norm2d_forward(context, y, x, mean, variance, weight, bias, kEps);
    batch_norm2d_backward_input(context, x_grad, y_grad, x, mean, variance, weight, kEps);
    for (const GradientMode mode : {GradientMode::kOverwrite, GradientMode::kAccumulate}) {
      batch_norm2d_backward_weight(context, t[8], t[9], y_grad, x, mean, variance, kEps, mode);
    }
    context.stream().synchronize();  // before the workspace goes
  };
  const testing::Values got = testing::on_gpu(inputs, run), expected = testing::on_cpu(inputs, run);
  const float step = dtype == DType::kBF16 ? 1.0f / 128.0f : 0.0f;  // of BF16, relative
  for (std::size_t t = 2; t < got.size(); ++t) {
    const bool rounded = inputs[t].tensor.spec.dtype == DType::kBF16;
    for (std::size_t i = 0; i < got[t].size(); ++i) {
      const float size = std::abs(expected[t][i]);
      ASSERT_NEAR(got[t][i], expected[t][i], 1e-6f * (1.0f + size) + (rounded ? step * size : 0.0f))
          << "tensor " << t << ", element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, BatchNorm2dShim,
                         ::testing::Values(Case{DType::kF32, 1, 1, 1, 2},
                                           Case{DType::kF32, 2, 5, 7, 3},
                                           Case{DType::kF32, 3, 64, 19, 23},
                                           Case{DType::kBF16, 2, 5, 7, 3},
                                           Case{DType::kBF16, 3, 64, 19, 23}));

// Running mean and variance after a step of two micro-batches.
std::vector<float> running_after(bool failed) {
  Gpu gpu;
  const Buffer flag = Buffer::pinned(sizeof(std::uint32_t), testing::kGpu);
  *static_cast<std::uint32_t*>(flag.data()) = failed ? 1 : 0;
  gpu.context().set_failure_flag(static_cast<std::uint32_t*>(flag.data()));
  const Tensor mean = gpu.put(std::vector<float>{2, 2}),
               variance = gpu.put(std::vector<float>{1, 1});
  Tensor means = gpu.put(std::vector<float>{2, 0, 8, 0}),
         variances = gpu.put(std::vector<float>{1, 0, 9, 0});
  means.spec = variances.spec = row_major({2, 2});
  batch_norm2d_update(gpu.context(), mean, variance, means, variances, 2, 0.25f);
  std::vector<float> all = gpu.get(mean);
  for (const float value : gpu.get(variance)) all.push_back(value);
  return all;
}

TEST(BatchNorm2dShim, RunningStatisticsTakeInThoseOfAllParts) {
  // See the CPU's test.
  EXPECT_EQ(running_after(false), (std::vector<float>{2.75f, 1.5f, 0.75f + 14.0f / 3.0f, 0.75f}));
}

TEST(BatchNorm2dShim, RunningStatisticsStayWhenTheStepFailed) {
  EXPECT_EQ(running_after(true), (std::vector<float>{2, 2, 1, 1}));
}

}  // namespace
}  // namespace stagecoach
