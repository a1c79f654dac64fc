// Winograd's fast convolution, F(m, r): m outputs of a kernel of r taps from m + r - 1 = 6 inputs
// by 6 products, each the value of two polynomials at one of the points 0, a, -a, b, -b and
// infinity.
//
// In two dimensions an output tile is m x m, an input tile 6 x 6, and there are 36 products.
#pragma once

#include <array>
#include <cstddef>

namespace stagecoach::cpu::winograd {

inline constexpr int kSide = 6;
inline constexpr int kPoints = kSide * kSide;

// The usual 1 and 2 have more than twice the rounding error (conv2d_winograd.h). These are as
// exact: they, their squares and what the transform of the input needs have no rounding as floats.
inline constexpr double kA = 0.625;
inline constexpr double kB = 1.5;

// A polynomial of kCount coefficients c at the points p: the sum of c[k] p^k, and at infinity its
// last coefficient. `zero`, a[k] and b[k] are the factors 1, kA^k and kB^k, if kDivided over the
// product of the differences to the other points, which one of the transforms has to divide by.
template <int kCount, bool kDivided>
struct Powers {
  float zero = 0.0f;
  std::array<float, kCount> a = {}, b = {};

  constexpr Powers() {
    const double a2 = kA * kA, b2 = kB * kB;
    zero = static_cast<float>(kDivided ? 1.0 / (a2 * b2) : 1.0);
    double at_a = kDivided ? 1.0 / (2.0 * a2 * (a2 - b2)) : 1.0;
    double at_b = kDivided ? 1.0 / (2.0 * b2 * (b2 - a2)) : 1.0;
    for (std::size_t k = 0; k < kCount; ++k) {
      a[k] = static_cast<float>(at_a);
      b[k] = static_cast<float>(at_b);
      at_a *= kA;
      at_b *= kB;
    }
  }
};

}  // namespace stagecoach::cpu::winograd
