// The loss's kernel against the CPU's, and the failure flag.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/mean_squared_error.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::Gpu;

struct Case {
  DType dtype;
  std::int64_t rows, columns;
};

class MeanSquaredErrorShim : public ::testing::TestWithParam<Case> {};

TEST_P(MeanSquaredErrorShim, IsTheCpus) {
  const auto [dtype, rows, columns] = GetParam();
  const TensorSpec predictions = row_major({rows, columns}, dtype),
                   targets = row_major({rows, columns});
  const auto run = [](Context& context, const std::vector<Tensor>& t) {
    mean_squared_error(context, t[0], t[1], t[2], t[3], 1.0f / 96.0f);
  };
  // Losses, gradient, prediction, targets.
  const auto inputs =
      testing::random_inputs({row_major({rows}), predictions, predictions, targets}, 5);
  const testing::Values got = testing::on_gpu(inputs, run), expected = testing::on_cpu(inputs, run);
  for (std::size_t i = 0; i < expected[0].size(); ++i) {
    EXPECT_FLOAT_EQ(got[0][i], expected[0][i]) << i;
  }
  EXPECT_EQ(got[1], expected[1]);
}

INSTANTIATE_TEST_SUITE_P(Sizes, MeanSquaredErrorShim,
                         ::testing::Values(Case{DType::kF32, 1, 1}, Case{DType::kF32, 300, 10},
                                           Case{DType::kF32, 7, 1001}, Case{DType::kBF16, 1, 3},
                                           Case{DType::kBF16, 300, 10}));

// The flag after a prediction of `value`, where the target is 1.
std::uint32_t flag_of(float value, bool with_flag = true) {
  Gpu gpu;
  const Buffer flag = Buffer::pinned(sizeof(std::uint32_t));
  if (with_flag) gpu.context().set_failure_flag(static_cast<std::uint32_t*>(flag.data()));
  Tensor prediction = gpu.put(std::vector<float>{0, value}),
         targets = gpu.put(std::vector<float>{1, 1});
  prediction.spec = targets.spec = row_major({2, 1});
  const Tensor losses = gpu.make(row_major({2}));
  mean_squared_error(gpu.context(), losses, prediction, prediction, targets, 1.0f);
  EXPECT_EQ(gpu.get(losses)[0], 1.0f);
  return *static_cast<std::uint32_t*>(flag.data());
}

TEST(MeanSquaredErrorShim, RaisesTheFlagForALossThatIsNotFinite) {
  EXPECT_EQ(flag_of(3), 0u);
  EXPECT_EQ(flag_of(std::nanf("")), 1u);
  EXPECT_EQ(flag_of(-std::numeric_limits<float>::infinity()), 1u);
  EXPECT_EQ(flag_of(1e30f), 1u);                 // its square is none
  EXPECT_EQ(flag_of(std::nanf(""), false), 0u);  // nobody gave one
}

}  // namespace
}  // namespace stagecoach
