// Division by multiplication, against the processor's.
#include "kernels/cuda/divider.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace stagecoach::cuda {
namespace {

constexpr std::uint32_t kMost = std::numeric_limits<std::int32_t>::max();

void expect_divides(std::uint32_t number, std::uint32_t divisor) {
  const auto [quotient, remainder] = Divider(divisor)(number);
  EXPECT_EQ(quotient, number / divisor) << number << " / " << divisor;
  EXPECT_EQ(remainder, number % divisor) << number << " % " << divisor;
}

// Around multiples, where a factor that is too small or too large shows.
TEST(Divider, IsDivision) {
  std::mt19937 random(1);
  for (int i = 0; i < 100000; ++i) {
    const std::uint32_t divisor =
        std::max(1u, (static_cast<std::uint32_t>(random()) & kMost) >> i % 31);
    const std::uint32_t multiple =
        (static_cast<std::uint32_t>(random()) & kMost) / divisor * divisor;
    for (const std::uint32_t number : {multiple, multiple + 1, multiple + divisor - 1, kMost}) {
      if (number <= kMost) expect_divides(number, divisor);
    }
    if (multiple > 0) expect_divides(multiple - 1, divisor);
  }
  for (int bit = 0; bit < 31; ++bit) {
    for (const std::uint32_t divisor : {1u << bit, (1u << bit) + 1, (2u << bit) - 1}) {
      for (const std::uint32_t number : {0u, divisor - 1, divisor, kMost - 1, kMost}) {
        if (divisor <= kMost) expect_divides(number, divisor);
      }
    }
  }
}

}  // namespace
}  // namespace stagecoach::cuda
