// Pillow's bilinear filter with integer weights, as tables; made on the host for every backend.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/image_transform.h"

namespace stagecoach::cpu {

inline constexpr int kFilterBits = 32 - 8 - 2;  // Pillow's PRECISION_BITS: weights are n / 2^22

// Which input pixels make an output pixel, and how much of each. A square image has the same filter
// for rows and columns.
struct ResizeFilter {
  std::int64_t widest = 0;               // weights of one output pixel, used or not
  std::vector<std::int32_t> begin, end;  // per output pixel: input pixels [begin, end)
  std::vector<std::int32_t> weights;     // [output pixel, widest]
};

// Pillow's precompute_coeffs and normalize_coeffs_8bpc, in their order of operations, from `from`
// to `to` pixels.
ResizeFilter make_resize_filter(std::int64_t from, std::int64_t to);

// Byte -> network input, [3, 256].
std::vector<float> normalised_values(const ImageTransform& transform);

}  // namespace stagecoach::cpu
