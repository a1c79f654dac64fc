// BFloat16: the upper half of a float, as storage. Arithmetic is done in float.
#pragma once

#include <bit>
#include <cstdint>

#include "core/dtype.h"

namespace stagecoach {

// constexpr, so that kernels of GPUs call the same functions.
struct BFloat16 {
  std::uint16_t bits;

  BFloat16() = default;
  // Rounds to nearest, ties to even; NaN stays NaN.
  constexpr explicit BFloat16(float value) : bits(rounded(std::bit_cast<std::uint32_t>(value))) {}
  constexpr explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }

 private:
  static constexpr std::uint16_t rounded(std::uint32_t word) {
    const bool is_nan = (word & 0x7FFFFFFF) > 0x7F800000;
    // A set bit of the mantissa's upper half keeps a NaN from becoming infinity.
    const std::uint32_t result =
        is_nan ? word >> 16 | 0x40 : (word + 0x7FFF + (word >> 16 & 1)) >> 16;
    return static_cast<std::uint16_t>(result);
  }
};

template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::kBF16;
};

}  // namespace stagecoach
