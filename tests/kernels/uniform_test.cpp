#include "kernels/uniform.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::bytes_of;
using testing::expect_error;
using testing::expect_same_bytes_everywhere;
using testing::run_on_context;

constexpr RandomStream kStream{0xFEDCBA9876543210ull, RandomUse::kInitialWeights, 3, 9, 12};

float expected_at(std::int64_t element, float bound) {
  const float unit = uniform01(kStream.word(static_cast<std::uint64_t>(element)));
  return (2.0f * unit - 1.0f) * bound;
}

OwnedTensor filled(const TensorSpec& spec, float bound, int threads = 2) {
  OwnedTensor result = testing::filled_tensor(spec, NAN);
  run_on_context(threads,
                 [&](Context& context) { fill_uniform(context, result.tensor, bound, kStream); });
  return result;
}

TEST(Uniform, FillsRowMajorMemoryByTheDefinition) {
  for (const std::int64_t size : {1, 2, 5, 64, 67, 40003}) {
    const OwnedTensor x = filled(row_major({size}), 0.25f);
    for (std::int64_t e = 0; e < size; ++e) {
      ASSERT_EQ(x.tensor.as<float>()[e], expected_at(e, 0.25f)) << e;
    }
  }
}

class UniformTest : public ::testing::TestWithParam<Shape> {};

TEST_P(UniformTest, FillsChannelsLastMemoryInLogicalOrder) {
  const Shape& s = GetParam();
  const OwnedTensor x = filled(channels_last(s[0], s[1], s[2], s[3]), 0.5f);
  std::int64_t e = 0;
  for (std::int64_t n = 0; n < s[0]; ++n)
    for (std::int64_t c = 0; c < s[1]; ++c)
      for (std::int64_t h = 0; h < s[2]; ++h)
        for (std::int64_t w = 0; w < s[3]; ++w)
          ASSERT_EQ(at(x.tensor, n, c, h, w), expected_at(e++, 0.5f)) << e;
}

INSTANTIATE_TEST_SUITE_P(Shapes, UniformTest,
                         ::testing::Values(Shape{4, 3, 11, 11}, Shape{1, 1, 5, 7},
                                           Shape{9, 130, 1, 1}, Shape{2, 5, 1, 3},
                                           Shape{70, 33, 3, 3}));

TEST(Uniform, FillsAScalar) {
  const OwnedTensor x = filled(row_major({}), 2.0f);
  EXPECT_EQ(*x.tensor.as<float>(), expected_at(0, 2.0f));
}

TEST(Uniform, SpreadsEvenlyBetweenTheBounds) {
  constexpr std::int64_t kCount = 100000;
  const OwnedTensor x = filled(row_major({kCount}), 3.0f);
  double sum = 0.0, squares = 0.0;
  float least = 0.0f, most = 0.0f;
  for (std::int64_t i = 0; i < kCount; ++i) {
    const float value = x.tensor.as<float>()[i];
    sum += value;
    squares += static_cast<double>(value) * value;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  EXPECT_GE(least, -3.0f);
  EXPECT_LT(least, -2.99f);
  EXPECT_LT(most, 3.0f);
  EXPECT_GT(most, 2.99f);
  // Mean 0, variance 9 / 3; five standard deviations of both estimates.
  EXPECT_NEAR(sum / kCount, 0.0, 5.0 * std::sqrt(3.0 / kCount));
  EXPECT_NEAR(squares / kCount, 3.0, 5.0 * std::sqrt(7.2 / kCount));
}

TEST(Uniform, GivesTheSameBytesEverywhere) {
  expect_same_bytes_everywhere([](int threads) {
    return bytes_of(filled(channels_last(50, 70, 5, 5), 1.0f, threads).tensor);
  });
}

TEST(Uniform, RefusesOtherArguments) {
  Context context;
  const OwnedTensor bytes(row_major({4}, DType::kU8)), x(row_major({4}));
  RandomStream wide;
  wide.layer = 70000;
  Tensor no_memory = x.tensor;
  no_memory.data = nullptr;
  expect_error([&] { fill_uniform(context, bytes.tensor, 1.0f, kStream); },
               {"fill_uniform", "output F32", "U8 [4]"});
  expect_error([&] { fill_uniform(context, x.tensor, 1.0f, wide); },
               {"fill_uniform", "layer below 65536", "70000"});
  expect_error([&] { fill_uniform(context, no_memory, 1.0f, kStream); },
               {"fill_uniform", "output"});
}

}  // namespace
}  // namespace stagecoach
