#include "core/portable_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/philox.h"

namespace stagecoach {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kSmallest = std::numeric_limits<double>::denorm_min();
constexpr int kCount = 20000;  // random arguments of a range

// In [0, 1), of 53 bits.
double random_number(int i) {
  const PhiloxBlock words = RandomStream{.seed = 5}.block(static_cast<std::uint32_t>(i));
  return std::ldexp(static_cast<double>(words[0]), -32) +
         std::ldexp(static_cast<double>(words[1] >> 11), -53);
}

// How far `got` is from `exact`, in units in the last place of a double.
double ulps(double got, long double exact) {
  if (static_cast<long double>(got) == exact) return 0.0;
  const int exponent = std::max(std::ilogb(exact) - 52, -1074);
  return static_cast<double>(
      std::ldexp(std::abs(static_cast<long double>(got) - exact), -exponent));
}

// The largest error of a function for random arguments in [low, high).
template <typename Function, typename Exact>
double largest_error(double low, double high, const Function& function, const Exact& exact) {
  double largest = 0.0;
  for (int i = 0; i < kCount; ++i) {
    const double x = low + (high - low) * random_number(i);
    largest = std::max(largest, ulps(function(x), exact(x)));
  }
  return largest;
}

TEST(PortableMath, ExpIsExactToItsLastBit) {
  const auto exact = [](long double x) { return std::exp(x); };
  EXPECT_LT(largest_error(-745, 709.7, portable::exp, exact), 0.9);
  EXPECT_LT(largest_error(-40, 0, portable::exp, exact), 0.9);
  EXPECT_LT(largest_error(-1, 1, portable::exp, exact), 0.9);
  EXPECT_LT(largest_error(-1e-6, 1e-6, portable::exp, exact), 0.9);
}

TEST(PortableMath, ExpKnowsItsBounds) {
  EXPECT_EQ(portable::exp(0.0), 1.0);
  EXPECT_EQ(portable::exp(-0.0), 1.0);
  EXPECT_EQ(portable::exp(kInfinity), kInfinity);
  EXPECT_EQ(portable::exp(-kInfinity), 0.0);
  EXPECT_TRUE(std::isnan(portable::exp(kNan)));
  const double last = 0x1.62e42fefa39efp+9;  // whose exponential is a double
  EXPECT_LT(portable::exp(last), kInfinity);
  EXPECT_EQ(portable::exp(std::nextafter(last, kInfinity)), kInfinity);
  EXPECT_EQ(portable::exp(1e300), kInfinity);
  EXPECT_EQ(portable::exp(-745.13), kSmallest);
  EXPECT_EQ(portable::exp(-745.14), 0.0);
  EXPECT_EQ(portable::exp(-1e300), 0.0);
}

TEST(PortableMath, LogIsExactToItsLastBit) {
  const auto exact = [](long double x) { return std::log(x); };
  EXPECT_LT(largest_error(0, 1, portable::log, exact), 0.9);
  EXPECT_LT(largest_error(0.5, 2, portable::log, exact), 0.9);
  EXPECT_LT(largest_error(1, 1e6, portable::log, exact), 0.9);
  // Near 1 and for every exponent.
  EXPECT_LT(largest_error(
                0, 1, [](double x) { return portable::log(1.0 + 0x1p-30 * x); },
                [](double x) { return std::log(static_cast<long double>(1.0 + 0x1p-30 * x)); }),
            0.9);
  for (int exponent = -1074; exponent < 1024; ++exponent) {
    const double x = std::ldexp(1.0 + random_number(exponent + 2000), exponent);
    ASSERT_LT(ulps(portable::log(x), exact(x)), 0.9) << x;
  }
}

TEST(PortableMath, LogKnowsItsBounds) {
  EXPECT_EQ(portable::log(1.0), 0.0);
  EXPECT_EQ(portable::log(0.0), -kInfinity);
  EXPECT_EQ(portable::log(-0.0), -kInfinity);
  EXPECT_EQ(portable::log(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(portable::log(-kSmallest)));
  EXPECT_TRUE(std::isnan(portable::log(-kInfinity)));
  EXPECT_TRUE(std::isnan(portable::log(kNan)));
  EXPECT_LT(ulps(portable::log(kSmallest), std::log(static_cast<long double>(kSmallest))), 0.9);
}

TEST(PortableMath, PowersAreThoseOfRepeatedProducts) {
  EXPECT_EQ(portable::power(0.9, 0), 1.0);
  EXPECT_EQ(portable::power(0.9, 1), 0.9);
  EXPECT_EQ(portable::power(-3.0, 5), -243.0);
  EXPECT_EQ(portable::power(2.0, 1000), 0x1p1000);
  EXPECT_EQ(portable::power(2.0, 1 << 20), kInfinity);
  EXPECT_EQ(portable::power(0.5, 1 << 20), 0.0);
  for (const double base : {0.9, 0.95, 0.999, 0.9999}) {
    for (std::int64_t n = 2; n < 6000; n = n * 9 / 8 + 1) {
      const long double exact =
          std::pow(static_cast<long double>(base), static_cast<long double>(n));
      ASSERT_LE(ulps(portable::power(base, n), exact), 0.5 * static_cast<double>(n))
          << base << "^" << n;
    }
  }
}

TEST(PortableMath, SineAndCosineOfTurns) {
  double largest = 0.0;
  for (int i = 0; i < kCount; ++i) {
    const double u = random_number(i);
    // The whole quarters apart: pi is not exact.
    const int quarter = static_cast<int>(4 * u + 0.5);
    const long double angle =
        2 * std::numbers::pi_v<long double> * (static_cast<long double>(u) - 0.25L * quarter);
    const long double s = std::sin(angle), c = std::cos(angle);
    const long double sines[] = {s, c, -s, -c, s}, cosines[] = {c, -s, -c, s, c};
    const portable::SinCos got = portable::sin_cos_of_turns(u);
    largest = std::max({largest, ulps(got.sin, sines[quarter]), ulps(got.cos, cosines[quarter])});
    const portable::SinCos back = portable::sin_cos_of_turns(-u);
    ASSERT_EQ(back.sin, -got.sin);
    ASSERT_EQ(back.cos, got.cos);
  }
  EXPECT_LT(largest, 1.8);
  const double exact[][3] = {{0, 0, 1}, {0.25, 1, 0}, {0.5, 0, -1}, {0.75, -1, 0}, {1, 0, 1}};
  for (const auto& [u, sine, cosine] : exact) {
    EXPECT_EQ(portable::sin_cos_of_turns(u).sin, sine) << u;
    EXPECT_EQ(portable::sin_cos_of_turns(u).cos, cosine) << u;
  }
}

// One number for all bits of many results, which every build must have.
TEST(PortableMath, HasTheSameBitsEverywhere) {
  std::uint64_t hash = 0xCBF29CE484222325;  // FNV-1a, by words
  const auto add = [&hash](double value) {
    hash = (hash ^ std::bit_cast<std::uint64_t>(value)) * 0x100000001B3;
  };
  for (int i = 0; i < kCount; ++i) {
    const double u = random_number(i);
    add(portable::exp(1450.0 * u - 740.0));
    add(portable::exp(4.0 * u - 2.0));
    add(portable::log(u));
    add(portable::log(1.0 + u));
    add(portable::power(u, i % 100));
    add(portable::sin_cos_of_turns(u).sin);
    add(portable::sin_cos_of_turns(u).cos);
  }
  EXPECT_EQ(hash, 2387259368909412518u);
}

}  // namespace
}  // namespace stagecoach
