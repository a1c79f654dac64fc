// Casts and sums of gradients, element by element.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/cast.h"
#include "kernels/cuda/operations.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::Gpu;
using testing::same_values;

// Numbers of all sizes and signs, with what is special among them.
std::vector<float> numbers(std::int64_t count, std::uint64_t seed) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> special = {0.0f,        -0.0f,       kInfinity,     -kInfinity,
                                      1.0f,        1e-42f,      3.4028235e38f, std::nanf(""),
                                      1.00390625f, 1.01171875f, 1.0039063f,    -65535.0f};  // ties
  const RandomStream stream{seed, RandomUse::kSyntheticData};
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto place = static_cast<std::size_t>(i);
    values.push_back(place < special.size() ? special[place]
                                            : std::bit_cast<float>(stream.word(place)));
  }
  return values;
}

class ElementsShim : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(ElementsShim, CastsAsBFloat16Does) {
  const std::vector<float> values = numbers(GetParam(), 1);
  std::vector<BFloat16> narrow;
  std::vector<float> wide;
  for (const float value : values) {
    narrow.emplace_back(value);
    wide.push_back(static_cast<float>(narrow.back()));
  }
  Gpu gpu;
  const Tensor f32 = gpu.put(values), bf16 = gpu.put(narrow);
  const Tensor to_f32 = gpu.make(f32.spec), to_bf16 = gpu.make(bf16.spec);
  cast(gpu.context(), to_bf16, f32);
  EXPECT_TRUE(same_values(gpu.get(to_bf16), wide));
  cast(gpu.context(), to_f32, bf16);
  EXPECT_TRUE(same_values(gpu.get(to_f32), wide));
  cast(gpu.context(), to_f32, f32);
  EXPECT_TRUE(same_values(gpu.get(to_f32), values));
  cast(gpu.context(), to_bf16, bf16);
  EXPECT_TRUE(same_values(gpu.get(to_bf16), wide));
}

TEST_P(ElementsShim, Accumulates) {
  const std::vector<float> values = numbers(GetParam(), 1), others = numbers(GetParam(), 2);
  std::vector<float> expected;
  for (std::size_t i = 0; i < values.size(); ++i) expected.push_back(values[i] + others[i]);
  Gpu gpu;
  const Tensor sum = gpu.put(values);
  cuda::accumulate(gpu.context(), sum, gpu.put(others));
  EXPECT_TRUE(same_values(gpu.get(sum), expected));
}

// From the second element on: no access of 16 bytes fits.
TEST_P(ElementsShim, TakesAnyAddress) {
  const std::int64_t count = GetParam();
  const std::vector<float> values = numbers(count + 1, 1);
  Gpu gpu;
  const Tensor from = rows_of(gpu.put(values), 1, count);
  const Tensor to = rows_of(gpu.make(row_major({count + 1}, DType::kBF16)), 1, count);
  const Tensor sum = rows_of(gpu.make(row_major({count + 1})), 1, count);
  cast(gpu.context(), to, from);
  cuda::accumulate(gpu.context(), sum, from);
  std::vector<float> rounded, added;
  for (auto value = values.begin() + 1; value != values.end(); ++value) {
    rounded.push_back(static_cast<float>(BFloat16(*value)));
    added.push_back(0.0f + *value);
  }
  EXPECT_TRUE(same_values(gpu.get(to), rounded));
  EXPECT_TRUE(same_values(gpu.get(sum), added));
}

INSTANTIATE_TEST_SUITE_P(Sizes, ElementsShim, ::testing::Values(1, 3, 4, 7, 1000, 70001));

}  // namespace
}  // namespace stagecoach
