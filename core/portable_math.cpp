#include "core/portable_math.h"

#include <bit>
#include <cmath>
#include <limits>

namespace stagecoach::portable {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// ln(2) in two parts: products of the first with integers below 2^20 are exact.
constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
constexpr double kTwoPi = 0x1.921fb54442d18p+2;

// coefficients[0] + coefficients[1] x + ..., by Horner's rule.
template <int kSize>
double polynomial(const double (&coefficients)[kSize], double x) {
  double sum = coefficients[kSize - 1];
  for (int i = kSize - 2; i >= 0; --i) sum = sum * x + coefficients[i];
  return sum;
}

// The product of the integers from `first` to `last`.
constexpr double product(int first, int last) {
  double result = 1.0;
  for (int i = first; i <= last; ++i) result *= i;
  return result;
}

// 2^exponent, of a normal number.
double power_of_two(int exponent) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

// (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2: Taylor's series, whose rest is below 2^-57.
double exp_tail(double r) {
  static constexpr double kTerms[] = {1 / product(1, 2),  1 / product(1, 3),  1 / product(1, 4),
                                      1 / product(1, 5),  1 / product(1, 6),  1 / product(1, 7),
                                      1 / product(1, 8),  1 / product(1, 9),  1 / product(1, 10),
                                      1 / product(1, 11), 1 / product(1, 12), 1 / product(1, 13)};
  return polynomial(kTerms, r);
}

}  // namespace

// x = k ln(2) + r.
double exp(double x) {
  if (std::isnan(x)) return x;
  if (x > 710.0) return kInfinity;
  if (x < -746.0) return 0.0;
  const double k = std::floor(x * (1.0 / (kLn2High + kLn2Low)) + 0.5);
  const double high = x - k * kLn2High, low = k * kLn2Low;
  const double r = high - low;
  const double value = 1.0 + (high + (r * r * exp_tail(r) - low));
  // In two steps: 2^k may be no double where the result is one. One of them rounds at most.
  const int exponent = static_cast<int>(k), half = exponent / 2;
  return value * power_of_two(half) * power_of_two(exponent - half);
}

// x = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)); with s = f / (2 + f),
// ln(1 + f) = 2 artanh(s) = 2 s + s R = f - f^2 / 2 + s (f^2 / 2 + R), R = 2/3 s^2 + 2/5 s^4 + ...
double log(double x) {
  if (std::isnan(x) || x == kInfinity) return x;
  if (x <= 0.0) return x == 0.0 ? -kInfinity : kNan;
  const bool subnormal = x < std::numeric_limits<double>::min();
  if (subnormal) x *= 0x1p54;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const std::uint64_t mantissa = bits & 0xFFFFFFFFFFFFF;
  const bool upper = mantissa >= 0x6A09E667F3BCD;  // of sqrt(2)
  const double f = std::bit_cast<double>(mantissa | (upper ? 0x3FEull : 0x3FFull) << 52) - 1.0;
  const double k = static_cast<double>(bits >> 52) - (subnormal ? 1077.0 : 1023.0) + upper;
  const double s = f / (2.0 + f), square = s * s, half = 0.5 * f * f;
  static constexpr double kTerms[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11,
                                      2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
  const double rest = square * polynomial(kTerms, square);
  return k * kLn2High - ((half - (s * (half + rest) + k * kLn2Low)) - f);
}

double power(double base, std::int64_t exponent) {
  double result = 1.0;
  for (; exponent > 0; exponent /= 2, base *= base) {
    if (exponent % 2 == 1) result *= base;
  }
  return result;
}

// 2 pi u = quarter pi / 2 + angle, |angle| <= pi / 4: Taylor's series, whose rests are below 2^-58.
SinCos sin_cos_of_turns(double u) {
  const double quarter = std::floor(4.0 * u + 0.5);
  const double angle = kTwoPi * (u - 0.25 * quarter);  // the difference is exact
  const double square = angle * angle;
  static constexpr double kSin[] = {-1 / product(1, 3),  1 / product(1, 5),   -1 / product(1, 7),
                                    1 / product(1, 9),   -1 / product(1, 11), 1 / product(1, 13),
                                    -1 / product(1, 15), 1 / product(1, 17)};
  static constexpr double kCos[] = {1 / product(1, 4),   -1 / product(1, 6), 1 / product(1, 8),
                                    -1 / product(1, 10), 1 / product(1, 12), -1 / product(1, 14),
                                    1 / product(1, 16),  -1 / product(1, 18)};
  const double sine = angle + angle * square * polynomial(kSin, square);
  const double cosine = 1.0 - (0.5 * square - square * square * polynomial(kCos, square));
  switch (static_cast<std::int64_t>(quarter) & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

}  // namespace stagecoach::portable
