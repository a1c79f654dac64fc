// What PTX's instructions compute, as its manual says where C++ would not: every register holds
// bits, and an instruction says what they are.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace ptx {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using s8 = std::int8_t;
using s16 = std::int16_t;
using s32 = std::int32_t;
using s64 = std::int64_t;
using f32 = float;
using f64 = double;

template <std::size_t kBytes>
struct BitsOf;
template <>
struct BitsOf<1> {
  using type = u8;
};
template <>
struct BitsOf<2> {
  using type = u16;
};
template <>
struct BitsOf<4> {
  using type = u32;
};
template <>
struct BitsOf<8> {
  using type = u64;
};
template <typename T>
using Bits = typename BitsOf<sizeof(T)>::type;
template <typename T>
inline constexpr u32 kBits = 8 * sizeof(T);

// A register's low bits as a T; and a T in a register, extended as its sign says.
template <typename T, typename Register>
constexpr T as(Register bits) {
  static_assert(sizeof(T) <= sizeof(Register));
  return std::bit_cast<T>(static_cast<Bits<T>>(bits));
}
template <typename Register, typename T>
constexpr void set(Register& to, T value) {
  static_assert(sizeof(T) <= sizeof(Register));
  if constexpr (std::is_integral_v<T>) {
    to = static_cast<Register>(value);
  } else {
    to = std::bit_cast<Bits<T>>(value);
  }
}
constexpr void set(bool& to, bool value) {
  to = value;
}

template <std::integral T>
constexpr T add(T a, T b) {
  return static_cast<T>(static_cast<Bits<T>>(a) + static_cast<Bits<T>>(b));
}
template <std::integral T>
constexpr T sub(T a, T b) {
  return static_cast<T>(static_cast<Bits<T>>(a) - static_cast<Bits<T>>(b));
}
template <std::floating_point T>
constexpr T add(T a, T b) {
  return a + b;
}
template <std::floating_point T>
constexpr T sub(T a, T b) {
  return a - b;
}
template <std::floating_point T>
constexpr T mul(T a, T b) {
  return a * b;
}
template <std::floating_point T>
T fma(T a, T b, T c) {
  return std::fma(a, b, c);
}

// Twice as wide as T.
template <std::integral T>
constexpr auto mul_wide(T a, T b) {
  using Wide = std::conditional_t<
      sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, s32, u32>,
      std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, s64, u64>,
                         std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>>>;
  return static_cast<Wide>(static_cast<Wide>(a) * static_cast<Wide>(b));
}
template <std::integral T>
constexpr T mul_lo(T a, T b) {
  return static_cast<T>(static_cast<u64>(a) * static_cast<u64>(b));
}
template <std::integral T>
constexpr T mul_hi(T a, T b) {
  return static_cast<T>(mul_wide(a, b) >> kBits<T>);
}
template <std::integral T>
constexpr T mad_lo(T a, T b, T c) {
  return add(mul_lo(a, b), c);
}
template <std::integral T, typename Wide>
constexpr Wide mad_wide(T a, T b, Wide c) {
  return add(static_cast<Wide>(mul_wide(a, b)), c);
}

// By zero: some value, and no trap, as on a GPU; compilers divide ahead of the test that forbids
// it.
template <std::integral T>
constexpr T div(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return sub(T{0}, a);
  return static_cast<T>(a / b);
}
template <std::integral T>
constexpr T rem(T a, T b) {
  return sub(a, mul_lo(div(a, b), b));
}
template <std::floating_point T>
constexpr T div(T a, T b) {
  return a / b;
}
template <std::floating_point T>
constexpr T rcp(T a) {
  return T{1} / a;
}
// The upper half of a double, as of the approximation: the lower one is zero.
inline f64 rcp_approx(f64 a) {
  return std::bit_cast<f64>(std::bit_cast<u64>(1.0 / a) & ~u64{0xFFFFFFFF});
}
template <std::floating_point T>
T sqrt(T a) {
  return std::sqrt(a);
}
template <std::floating_point T>
T abs(T a) {
  return std::fabs(a);
}
template <std::signed_integral T>
constexpr T abs(T a) {
  return a < 0 ? sub(T{0}, a) : a;
}
template <typename T>
constexpr T neg(T a) {
  if constexpr (std::is_integral_v<T>) {
    return sub(T{0}, a);
  } else {
    return -a;
  }
}

template <std::integral T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <std::integral T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}
// A number rather than NaN, and -0 below +0.
template <std::floating_point T>
T min(T a, T b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) ? b : a;
  if (a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}
template <std::floating_point T>
T max(T a, T b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) ? b : a;
  if (a == b) return std::signbit(a) ? b : a;
  return a < b ? b : a;
}

template <typename T>
constexpr T bit_and(T a, T b) {
  return static_cast<T>(a & b);
}
template <typename T>
constexpr T bit_or(T a, T b) {
  return static_cast<T>(a | b);
}
template <typename T>
constexpr T bit_xor(T a, T b) {
  return static_cast<T>(a ^ b);
}
template <typename T>
constexpr T bit_not(T a) {
  if constexpr (std::is_same_v<T, bool>) {
    return !a;
  } else {
    return static_cast<T>(~a);
  }
}
// Shifted out altogether by their width and more.
template <std::integral T>
constexpr T shl(T a, u32 by) {
  return by >= kBits<T> ? T{0} : static_cast<T>(static_cast<Bits<T>>(a) << by);
}
template <std::integral T>
constexpr T shr(T a, u32 by) {
  if (by >= kBits<T>) return a < T{0} ? static_cast<T>(-1) : T{0};
  return static_cast<T>(a >> by);
}

// Comparisons; those whose name ends in u are also true where one of the two is NaN.
template <typename T>
constexpr bool unordered(T a, T b) {
  return a != a || b != b;
}
template <typename T>
constexpr bool eq(T a, T b) {
  return a == b;
}
template <typename T>
constexpr bool ne(T a, T b) {
  return a != b && !unordered(a, b);
}
template <typename T>
constexpr bool lt(T a, T b) {
  return a < b;
}
template <typename T>
constexpr bool le(T a, T b) {
  return a <= b;
}
template <typename T>
constexpr bool gt(T a, T b) {
  return a > b;
}
template <typename T>
constexpr bool ge(T a, T b) {
  return a >= b;
}
template <typename T>
constexpr bool equ(T a, T b) {
  return a == b || unordered(a, b);
}
template <typename T>
constexpr bool neu(T a, T b) {
  return a != b;
}
template <typename T>
constexpr bool ltu(T a, T b) {
  return !(a >= b);
}
template <typename T>
constexpr bool leu(T a, T b) {
  return !(a > b);
}
template <typename T>
constexpr bool gtu(T a, T b) {
  return !(a <= b);
}
template <typename T>
constexpr bool geu(T a, T b) {
  return !(a < b);
}
template <typename T>
constexpr bool num(T a, T b) {
  return !unordered(a, b);
}
template <typename T>
constexpr bool nan(T a, T b) {
  return unordered(a, b);
}

// Between integers, to floats to nearest even, and between floats.
template <typename To, typename From>
constexpr To cvt(From a) {
  static_assert(std::is_integral_v<From> || std::is_floating_point_v<To>,
                "a float becomes an integer by cvt_rzi");
  return static_cast<To>(a);
}
// Towards zero; what does not fit becomes the nearest that does, NaN 0.
template <std::integral To, std::floating_point From>
constexpr To cvt_rzi(From a) {
  if (a != a) return 0;
  // The first power of two that is too large, exact in either type.
  const From end = static_cast<From>(2) * static_cast<From>(std::numeric_limits<To>::max() / 2 + 1);
  if (a >= end) return std::numeric_limits<To>::max();
  if (a <= static_cast<From>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  return static_cast<To>(a);
}
// To the nearest even bf16: its bits; every NaN becomes the same one.
inline u16 cvt_bf16(f32 a) {
  if (std::isnan(a)) return 0x7FFF;
  const u32 bits = std::bit_cast<u32>(a);
  return static_cast<u16>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
// Two of them: the first one is the upper half.
inline u32 cvt_bf16x2(f32 upper, f32 lower) {
  return u32{cvt_bf16(upper)} << 16 | cvt_bf16(lower);
}

// Four bytes of the eight of b:a, chosen by four bits each: which one, and whether its sign is
// meant.
constexpr u32 prmt(u32 a, u32 b, u32 choice) {
  const u64 bytes = u64{b} << 32 | a;
  u32 result = 0;
  for (u32 i = 0; i < 4; ++i) {
    const u32 chosen = choice >> 4 * i & 15;
    u32 byte = static_cast<u32>(bytes >> 8 * (chosen & 7)) & 0xFF;
    if (chosen & 8) byte = byte & 0x80 ? 0xFF : 0;
    result |= byte << 8 * i;
  }
  return result;
}

}  // namespace ptx
