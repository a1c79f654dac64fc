#include "core/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

namespace stagecoach {
namespace {

TEST(Float16, AllValuesAreTheirDefinition) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = float_of_half(static_cast<std::uint16_t>(bits));
    const int exponent = static_cast<int>(bits >> 10 & 0x1F);
    const double mantissa = bits & 0x3FF, sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 0x1F && mantissa > 0) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      continue;
    }
    const double expected = exponent == 0x1F ? INFINITY
                            : exponent == 0  ? std::ldexp(mantissa, -24)
                                             : std::ldexp(1024 + mantissa, exponent - 25);
    EXPECT_EQ(value, sign * expected) << bits;
    EXPECT_EQ(std::signbit(value), sign < 0) << bits;
  }
}

}  // namespace
}  // namespace stagecoach
