// Gradient buckets: the parts of a stage's flat gradients that replicas sum one after the other,
// and what each replica has of them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace stagecoach {

// A part of a flat tensor: elements [first, end).
struct Elements {
  std::int64_t first = 0, end = 0;
  std::int64_t size() const { return end - first; }
  bool operator==(const Elements&) const = default;
};
// The same memory as one row of elements.
Tensor flat_view(Tensor tensor);
// What both have; empty where that is nothing.
Elements common(const Elements& a, const Elements& b);
inline Tensor elements_of(const Tensor& flat, const Elements& elements) {
  return rows_of(flat, elements.first, elements.size());
}

// The part that one of `replicas`, a power of two, sums: by halving, so that recursive halving ends
// there. Parts begin at whole cache lines; those of all replicas are `all`.
Elements share_of(Elements all, int replicas, int replica);

struct GradientBucket {
  Elements elements;
  int first_layer = 0;  // complete when the last W of this layer, and of those behind it, has run
};

// A bucket is closed when it has so many bytes: small messages are latency, a large one hides
// nothing.
inline constexpr std::int64_t kBucketBytes = std::int64_t{25} << 20;

// `first_elements`: of each layer's parameters, in the flat tensor of `elements`; layers without
// any have that of the next one. From the last layer to the first, as W runs; `least_bytes` of each
// bucket but the last.
std::vector<GradientBucket> gradient_buckets(const std::vector<std::int64_t>& first_elements,
                                             std::int64_t elements, std::int64_t least_bytes);

}  // namespace stagecoach
