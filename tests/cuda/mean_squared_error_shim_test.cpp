// The loss's kernel against the CPU's.
#include <gtest/gtest.h>

#include "kernels/mean_squared_error.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

struct Case {
  DType dtype;
  std::int64_t rows, columns;
};

class MeanSquaredErrorShim : public ::testing::TestWithParam<Case> {};

TEST_P(MeanSquaredErrorShim, IsTheCpus) {
  const auto [dtype, rows, columns] = GetParam();
  const TensorSpec predictions = row_major({rows, columns}, dtype),
                   targets = row_major({rows, columns});
  const auto run = [samples = (rows + 1) / 2](Context& context, const std::vector<Tensor>& t) {
    mean_squared_error(context, t[0], t[1], t[2], t[3], 1.0f / 96.0f, samples);
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

}  // namespace
}  // namespace stagecoach
