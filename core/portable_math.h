// Functions of <cmath> that training needs, with the same bits on every processor, with every
// compiler and C library: those of a library differ in the last bit from version to version.
//
// Plain double arithmetic in a fixed order. The errors said here are the largest that were found,
// in units in the last place (ulp) of the exact result: tests/core/portable_math_test.cpp.
#pragma once

#include <cstdint>

namespace stagecoach::portable {

// 0.9 ulp. Infinity above 709.782..., 0 below -745.133...; subnormal results too.
double exp(double x);

// 0.9 ulp. -infinity for 0, NaN below.
double log(double x);

// By repeated squaring: exponent / 2 ulp. exponent >= 0; 1 for 0.
double power(double base, std::int64_t exponent);

// Of the angle 2 pi u: 1.8 ulp. |u| < 2^50.
struct SinCos {
  double sin, cos;
};
SinCos sin_cos_of_turns(double u);

}  // namespace stagecoach::portable
