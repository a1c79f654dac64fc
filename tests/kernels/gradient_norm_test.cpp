#include "kernels/gradient_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/step.h"
#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::copy_of;
using testing::expect_error;
using testing::random_tensor;
using testing::run_on_context;

double sum_of(const Tensor& values, int threads) {
  double sum = -1;
  run_on_context(threads, kSumOfSquaresWorkspace,
                 [&](Context& context) { sum_of_squares(context, &sum, values); });
  return sum;
}

// Also where blocks are longer than the least, and where the last one is short.
TEST(SumOfSquares, IsThatOfLongDoublesAndTheSameEverywhere) {
  for (const std::int64_t count : {1, 15, 16, 17, 4095, 4096, 4097, 100'003, 5'000'011}) {
    const OwnedTensor values = random_tensor(row_major({count}), 7, 3.0f);
    long double exact = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const long double value = values.tensor.as<float>()[i];
      exact += value * value;
    }
    const double expected = sum_of(values.tensor, 1);
    EXPECT_NEAR(expected, static_cast<double>(exact), 4e-15 * static_cast<double>(exact)) << count;
    testing::for_each_instruction_set([&](const std::string& set) {
      for (int threads = 1; threads <= 3; ++threads) {
        EXPECT_EQ(sum_of(values.tensor, threads), expected) << set << ", " << threads;
      }
    });
  }
}

// To the last bit: ten lines of the order that the header of the CPU's kernel promises.
TEST(SumOfSquares, HasItsOrder) {
  const std::int64_t count = 3 * 4096 + 21;
  const OwnedTensor values = random_tensor(row_major({count}), 8);
  double sum = 0;
  for (std::int64_t block = 0; block < count; block += 4096) {
    double chains[16] = {}, own = 0;
    for (std::int64_t i = block; i < std::min(block + 4096, count); ++i) {
      const double value = values.tensor.as<float>()[i];
      chains[i % 16] += value * value;
    }
    for (const double chain : chains) own += chain;
    sum += own;
  }
  EXPECT_EQ(sum_of(values.tensor, 2), sum);
}

struct Clipped {
  OwnedTensor gradients;
  double norms[kNormsKept] = {};
};

Clipped clip(const Tensor& gradients, std::vector<double> sums, double max_norm,
             std::int64_t step = 0) {
  Clipped result{copy_of(gradients)};
  run_on_context(2, [&](Context& context) {
    begin_step(context, {.step = step});
    clip_gradients(context, result.gradients.tensor, sums, max_norm, result.norms);
  });
  return result;
}

TEST(ClipGradients, ScalesWhatIsTooLongAndNothingElse) {
  const OwnedTensor gradients = random_tensor(row_major({70'001}), 9);
  const Clipped shorter = clip(gradients.tensor, {9.0, 16.0}, 2.5, 6);
  EXPECT_EQ(shorter.norms[6 % kNormsKept], 5.0);
  const auto factor = static_cast<float>(2.5 / (5.0 + 1e-6));  // PyTorch's
  for (std::int64_t i = 0; i < 70'001; ++i) {
    ASSERT_EQ(shorter.gradients.tensor.as<float>()[i], gradients.tensor.as<float>()[i] * factor);
  }
  const Clipped same = clip(gradients.tensor, {9.0, 16.0}, 5.1);
  EXPECT_EQ(same.norms[0], 5.0);
  EXPECT_EQ(bytes_of(same.gradients.tensor), bytes_of(gradients.tensor));
}

TEST(ClipGradients, AddsTheSumsAscending) {
  const OwnedTensor none(row_major({1}));
  EXPECT_EQ(clip(none.tensor, {1e16, 1.0, 1.0}, 1.0).norms[0], 1e8);
  EXPECT_EQ(clip(none.tensor, {1.0, 1.0, 1e16}, 1.0).norms[0], std::sqrt(1e16 + 2.0));
}

TEST(ClipGradients, AStageWithoutParametersKnowsTheNorm) {
  double norms[kNormsKept] = {};
  const std::vector<double> sums = {4.0};
  run_on_context(1, [&](Context& context) { clip_gradients(context, {}, sums, 1.0, norms); });
  EXPECT_EQ(norms[0], 2.0);
}

TEST(ClipGradients, RefusesWhatCannotBe) {
  const OwnedTensor gradients(row_major({4})), bytes(row_major({4}, DType::kU8));
  run_on_context(1, [&](Context& context) {
    double sum = 0;
    const std::vector<double> sums = {1.0};
    expect_error([&] { sum_of_squares(context, &sum, gradients.tensor); },
                 {"sum_of_squares", "workspace"});
    expect_error([&] { sum_of_squares(context, &sum, bytes.tensor); }, {"values F32"});
    expect_error([&] { clip_gradients(context, bytes.tensor, sums, 1.0); }, {"gradients"});
    for (const double norm : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
      expect_error([&] { clip_gradients(context, gradients.tensor, sums, norm); },
                   {"a norm above 0"});
    }
  });
}

}  // namespace
}  // namespace stagecoach
