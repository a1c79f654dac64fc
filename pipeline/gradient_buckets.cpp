#include "pipeline/gradient_buckets.h"

#include <algorithm>
#include <utility>

namespace stagecoach {

Tensor flat_view(Tensor tensor) {
  tensor.spec = row_major({tensor.elements()}, tensor.spec.dtype);
  return tensor;
}

Elements common(const Elements& a, const Elements& b) {
  const Elements both{std::max(a.first, b.first), std::min(a.end, b.end)};
  return both.first < both.end ? both : Elements{};
}

Elements share_of(Elements all, int replicas, int replica) {
  constexpr std::int64_t kLine = 16;
  for (int step = 1; step < replicas; step *= 2) {
    const std::int64_t middle = all.first + all.size() / 2 / kLine * kLine;
    ((replica & step) != 0 ? all.first : all.end) = middle;
  }
  return all;
}

std::vector<GradientBucket> gradient_buckets(const std::vector<std::int64_t>& first_elements,
                                             std::int64_t elements, std::int64_t least_bytes) {
  std::vector<GradientBucket> buckets;
  std::int64_t end = elements;
  for (int layer = static_cast<int>(first_elements.size()) - 1; layer >= 0; --layer) {
    const Elements bucket{first_elements[static_cast<std::size_t>(layer)], end};
    const bool is_last = bucket.first == 0;
    const auto bytes = bucket.size() * static_cast<std::int64_t>(sizeof(float));
    if (bucket.size() == 0 || (!is_last && bytes < least_bytes)) continue;
    buckets.push_back({bucket, layer});
    end = bucket.first;
  }
  return buckets;
}

}  // namespace stagecoach
