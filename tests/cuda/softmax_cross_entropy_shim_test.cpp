// The loss's kernel against the CPU's, and the failure flag.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/softmax_cross_entropy.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::Gpu;
using testing::values_of;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  DType dtype;
  std::int64_t rows, classes;
  float bound;  // of the logits
  bool in_place;
};

class SoftmaxCrossEntropyShim : public ::testing::TestWithParam<Case> {};

// exp and log of a GPU and of the CPU may differ in the last bit of a double, which moves a float
// by one unit in its last place at most; the gradient is the difference of two numbers <= 1.
TEST_P(SoftmaxCrossEntropyShim, IsTheCpus) {
  const auto [dtype, rows, classes, bound, in_place] = GetParam();
  constexpr float kScale = 1.0f / 96.0f;
  auto inputs = testing::random_inputs({row_major({rows, classes}, dtype)}, 41);
  OwnedTensor logits(row_major({rows, classes})), labels(row_major({rows}, DType::kI32));
  const std::vector<float> values = values_of(inputs[0].tensor);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const BFloat16 value(values[i] * bound);
    logits.tensor.as<float>()[i] = static_cast<float>(value);
    if (dtype == DType::kF32) inputs[0].tensor.as<float>()[i] = static_cast<float>(value);
    if (dtype == DType::kBF16) inputs[0].tensor.as<BFloat16>()[i] = value;
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    labels.tensor.as<std::int32_t>()[row] = static_cast<std::int32_t>(row * 7 % classes);
  }
  const OwnedTensor losses(row_major({rows})), correct(row_major({rows}, DType::kI32));
  const OwnedTensor grad(logits.tensor.spec);
  testing::run_on_context(1, [&](Context& context) {
    softmax_cross_entropy(context, losses.tensor, correct.tensor, grad.tensor, logits.tensor,
                          labels.tensor, kScale);
  });

  Gpu gpu;
  const Buffer flag = Buffer::pinned(sizeof(std::uint32_t), testing::kGpu);
  gpu.context().set_failure_flag(static_cast<std::uint32_t*>(flag.data()));
  const Tensor on_gpu = gpu.put(inputs[0].tensor);
  const Tensor gpu_grad = in_place ? on_gpu : gpu.make(on_gpu.spec);
  const Tensor gpu_losses = gpu.make(losses.tensor.spec),
               gpu_correct = gpu.make(correct.tensor.spec);
  softmax_cross_entropy(gpu.context(), gpu_losses, gpu_correct, gpu_grad, on_gpu,
                        gpu.put(labels.tensor), kScale);
  EXPECT_EQ(gpu.get(gpu_correct), values_of(correct.tensor));
  const std::vector<float> got_losses = gpu.get(gpu_losses), got = gpu.get(gpu_grad);
  for (std::size_t i = 0; i < got_losses.size(); ++i) {
    EXPECT_FLOAT_EQ(got_losses[i], values_of(losses.tensor)[i]) << i;
  }
  const float half_step = dtype == DType::kBF16 ? 1.0f / 256.0f : 0.0f;  // of BF16, relative
  const std::vector<float> expected = values_of(grad.tensor);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const float tolerance = 1.2e-7f * kScale + half_step * std::abs(expected[i]);
    EXPECT_NEAR(got[i], expected[i], tolerance) << i;
  }
  EXPECT_EQ(*static_cast<std::uint32_t*>(flag.data()), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, SoftmaxCrossEntropyShim,
    ::testing::Values(Case{DType::kF32, 1, 1, 1, false}, Case{DType::kF32, 300, 10, 5, false},
                      Case{DType::kF32, 37, 1000, 20, true}, Case{DType::kF32, 9, 10, 1e4f, true},
                      Case{DType::kBF16, 300, 10, 5, true}, Case{DType::kBF16, 37, 1000, 20, false},
                      Case{DType::kBF16, 9, 7, 1e4f, false}));

// What one row of logits and its label give.
struct Outcome {
  std::vector<float> losses, correct, grad;
  std::uint32_t flag;
};
Outcome outcome(const std::vector<float>& logits, std::int32_t label, bool with_flag = true) {
  Gpu gpu;
  const Buffer flag = Buffer::pinned(sizeof(std::uint32_t), testing::kGpu);
  if (with_flag) gpu.context().set_failure_flag(static_cast<std::uint32_t*>(flag.data()));
  Tensor row = gpu.put(logits);
  row.spec = row_major({1, static_cast<std::int64_t>(logits.size())});
  const Tensor losses = gpu.make(row_major({1})), correct = gpu.make(row_major({1}, DType::kI32));
  softmax_cross_entropy(gpu.context(), losses, correct, row, row,
                        gpu.put(std::vector<std::int32_t>{label}), 1.0f);
  Outcome result{gpu.get(losses), gpu.get(correct), gpu.get(row), 0};
  result.flag = *static_cast<std::uint32_t*>(flag.data());
  return result;
}

TEST(SoftmaxCrossEntropyShim, RaisesTheFlagForALossThatIsNotFinite) {
  EXPECT_EQ(outcome({1, 2, 3}, 1).flag, 0u);
  for (const float value : {std::nanf(""), kInfinity}) {
    EXPECT_EQ(outcome({1, value, 3}, 0).flag, 1u) << value;
    EXPECT_EQ(outcome({1, value, 3}, 1).flag, 1u) << value;
    EXPECT_EQ(outcome({1, value, 3}, 1).correct, std::vector<float>{0});
  }
  const Outcome infinite = outcome({1, -kInfinity, 3}, 1);
  EXPECT_EQ(infinite.losses, std::vector<float>{kInfinity});
  EXPECT_EQ(infinite.flag, 1u);
  EXPECT_EQ(outcome({1, -kInfinity, 3}, 0).flag, 0u);
  EXPECT_EQ(outcome({1, std::nanf(""), 3}, 0, false).flag, 0u);  // nobody gave one
}

TEST(SoftmaxCrossEntropyShim, LabelOutOfRangeIsNaNWithoutAGradient) {
  for (const std::int32_t label : {-1, 3, 1 << 30}) {
    const Outcome result = outcome({1, 2, 3}, label);
    EXPECT_TRUE(std::isnan(result.losses[0])) << label;
    EXPECT_EQ(result.correct, std::vector<float>{0});
    EXPECT_EQ(result.grad, (std::vector<float>{0, 0, 0}));
    EXPECT_EQ(result.flag, 1u);
  }
}

}  // namespace
}  // namespace stagecoach
