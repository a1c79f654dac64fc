// What PyTorch computes for AlexNet in double (scripts/make_golden.py says what the file holds),
// and how to compare with it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "tests/kernels/tensors.h"

namespace stagecoach::testing {

inline constexpr std::uint64_t kSeed = 1138;
inline constexpr std::int64_t kImages = 2, kSide = 224, kClasses = 10;

inline SafetensorsFile golden_file() {
  return SafetensorsFile(STAGECOACH_TEST_DATA "/alexnet_golden.safetensors");
}

inline std::vector<double> golden(const SafetensorsFile& file, const std::string& name) {
  const OwnedTensor stored(file.spec(name));
  file.read(name, stored.tensor);
  const float* data = stored.tensor.as<float>();
  return {data, data + stored.tensor.elements()};
}

// Element `place` of the row-major order, whatever the tensor's format.
inline double element(const Tensor& tensor, std::int64_t place) {
  if (tensor.spec.format == MemoryFormat::kRowMajor) return tensor.as<float>()[place];
  const Shape& s = tensor.shape();
  const std::int64_t w = place % s[3], h = place / s[3] % s[2], c = place / s[3] / s[2] % s[1];
  return at(tensor, place / s[3] / s[2] / s[1], c, h, w);
}

inline std::vector<double> samples(const Tensor& tensor) {
  std::vector<double> result;
  const std::int64_t count = tensor.elements();
  for (std::int64_t k = 0; k < std::min<std::int64_t>(count, 512); ++k) {
    result.push_back(element(tensor, k * 2654435761 % count));
  }
  return result;
}

inline std::vector<double> sum_and_norm(const Tensor& tensor) {
  const float* data = tensor.as<float>();
  const std::int64_t elements = tensor.elements();
  double sum = 0.0, squares = 0.0;
  for (std::int64_t i = 0; i < elements; ++i) {
    const double x = data[i];
    sum += x;
    squares += x * x;
  }
  return {sum, std::sqrt(squares)};
}

inline double norm(const std::vector<double>& values) {
  return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
}

inline std::vector<double> minus(std::vector<double> a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) a[i] -= b[i];
  return a;
}

// |a - b| / |b| in the L2 norm.
inline double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  return norm(minus(a, b)) / norm(b);
}

inline OwnedTensor golden_labels(const SafetensorsFile& file) {
  OwnedTensor labels(row_major({kImages}, DType::kI32));
  file.read("labels", labels.tensor);
  return labels;
}

}  // namespace stagecoach::testing
