#include "kernels/cpu/resize_filter.h"

#include <algorithm>
#include <cmath>

namespace stagecoach::cpu {
namespace {

double triangle(double x) {
  const double distance = std::abs(x);
  return distance < 1.0 ? 1.0 - distance : 0.0;
}

}  // namespace

ResizeFilter make_resize_filter(std::int64_t from, std::int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double support = std::max(scale, 1.0);  // of the triangle, in input pixels
  ResizeFilter filter;
  filter.widest = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  filter.weights.resize(static_cast<std::size_t>(to * filter.widest));
  std::vector<double> exact(static_cast<std::size_t>(filter.widest));
  for (std::int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto begin = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto end = std::min(static_cast<std::int64_t>(center + support + 0.5), from);
    double sum = 0.0;
    for (std::int64_t x = begin; x < end; ++x) {
      const double place = static_cast<double>(x) - center + 0.5;
      sum += exact[static_cast<std::size_t>(x - begin)] = triangle(place * (1.0 / support));
    }
    std::int32_t* weights = filter.weights.data() + i * filter.widest;
    for (std::int64_t x = begin; x < end; ++x) {
      const double weight = exact[static_cast<std::size_t>(x - begin)] / sum;
      weights[x - begin] = static_cast<std::int32_t>(0.5 + weight * (1 << kFilterBits));
    }
    filter.begin.push_back(static_cast<std::int32_t>(begin));
    filter.end.push_back(static_cast<std::int32_t>(end));
  }
  return filter;
}

std::vector<float> normalised_values(const ImageTransform& transform) {
  std::vector<float> values;
  for (std::size_t c = 0; c < transform.mean.size(); ++c) {
    for (int byte = 0; byte < 256; ++byte) {
      const float scaled = static_cast<float>(byte) / 255.0f;
      values.push_back((scaled - transform.mean[c]) / transform.std[c]);
    }
  }
  return values;
}

}  // namespace stagecoach::cpu
