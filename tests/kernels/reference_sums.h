// Sums of products in double, with what is needed to say how far a float result may be from them.
#pragma once

#include <gtest/gtest.h>

#include <Eigen/Core>
#include <cmath>
#include <limits>

#include "core/tensor.h"

namespace stagecoach::testing {

// One sum of products per element of a tensor, in the order of the tensor's memory.
struct ReferenceSums {
  explicit ReferenceSums(const TensorSpec& of)
      : spec(of),
        value(Eigen::VectorXd::Zero(of.elements())),
        magnitude(Eigen::VectorXd::Zero(of.elements())),
        terms(Eigen::VectorXd::Zero(of.elements())) {}

  void add(std::int64_t element, double term) {
    value[element] += term;
    magnitude[element] += std::abs(term);
    terms[element] += 1.0;
  }

  TensorSpec spec;
  Eigen::VectorXd value, magnitude, terms;
};

// Every element of `result` equals the reference but for rounding. Adding T terms in any order
// rounds T times, each by at most eps / 2 of a partial sum, which is at most the sum of the terms'
// magnitudes M; the roundings are independent, so they grow to about sqrt(T) eps / 2 * M. The
// bound is twice that, with one more rounding for each product and one for what was there before.
inline void expect_sums(const Tensor& result, const ReferenceSums& reference) {
  ASSERT_EQ(result.spec, reference.spec);
  constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
  const float* data = result.as<float>();
  for (std::int64_t i = 0; i < result.elements(); ++i) {
    const double bound = kEpsilon * (std::sqrt(reference.terms[i]) + 2.0) * reference.magnitude[i];
    ASSERT_NEAR(data[i], reference.value[i], bound) << "element " << i << " in memory order";
  }
}

}  // namespace stagecoach::testing
