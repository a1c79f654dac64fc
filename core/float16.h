// Half precision (IEEE 754 binary16), as it is stored in files. There is no arithmetic in it.
#pragma once

#include <bit>
#include <cstdint>

namespace stagecoach {

// The value of 16 bits; exact. NaN stays NaN.
constexpr float float_of_half(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t exponent = bits >> 10 & 0x1F, mantissa = bits & 0x3FF;
  if (exponent == 0) {  // mantissa * 2^-24
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign == 0 ? value : -value;
  }
  const std::uint32_t wide = exponent == 0x1F ? 0xFF : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

}  // namespace stagecoach
