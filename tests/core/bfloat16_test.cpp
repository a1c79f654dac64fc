#include "core/bfloat16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace stagecoach {
namespace {

// Constant expressions: kernels of a GPU call them because they are.
static_assert(BFloat16(1.0f).bits == 0x3F80);
static_assert(static_cast<float>(BFloat16(-2.5f)) == -2.5f);
static_assert(sizeof(BFloat16) == 2);

float nearby(std::uint32_t word) {
  return static_cast<float>(BFloat16(std::bit_cast<float>(word)));
}

TEST(BFloat16, RoundsToNearestAndTiesToEven) {
  EXPECT_EQ(nearby(0x3F807FFF), 1.0f);                              // just below the middle
  EXPECT_EQ(nearby(0x3F808000), 1.0f);                              // the middle: even is below
  EXPECT_EQ(nearby(0x3F818000), std::bit_cast<float>(0x3F820000));  // the middle: even is above
  EXPECT_EQ(nearby(0x3F808001), std::bit_cast<float>(0x3F810000));  // just above the middle
  EXPECT_EQ(nearby(0xBF808001), std::bit_cast<float>(0xBF810000));
}

TEST(BFloat16, KeepsZerosInfinitiesAndNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(static_cast<float>(BFloat16(infinity)), infinity);
  EXPECT_EQ(static_cast<float>(BFloat16(-infinity)), -infinity);
  EXPECT_TRUE(std::signbit(static_cast<float>(BFloat16(-0.0f))));
  EXPECT_EQ(static_cast<float>(BFloat16(std::numeric_limits<float>::max())), infinity);
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(nearby(0x7F800001)));  // all of its mantissa is in the lower half
}

TEST(BFloat16, EveryValueSurvives) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = std::bit_cast<float>(bits << 16);
    if (std::isnan(value)) continue;
    ASSERT_EQ(BFloat16(value).bits, bits);
  }
}

}  // namespace
}  // namespace stagecoach
