// The widest float vector of the build's target, by GCC's vector extensions.
#pragma once

#include <cstdint>
#include <cstring>

namespace stagecoach::cpu {

#if defined(__AVX512F__)
inline constexpr std::int64_t kLanes = 16;
#elif defined(__AVX__)
inline constexpr std::int64_t kLanes = 8;
#else
inline constexpr std::int64_t kLanes = 4;
#endif

using Vector [[gnu::vector_size(kLanes * sizeof(float))]] = float;

// The first `count` <= kLanes floats at any address; the others are 0.
inline Vector load(const float* from, std::int64_t count = kLanes) {
  Vector result = {};
  std::memcpy(&result, from, static_cast<std::size_t>(count) * sizeof(float));
  return result;
}

inline void store(float* to, Vector value, std::int64_t count = kLanes) {
  std::memcpy(to, &value, static_cast<std::size_t>(count) * sizeof(float));
}

inline float sum_of_lanes(Vector value) {
  float total = 0.0f;
  for (std::int64_t i = 0; i < kLanes; ++i) total += value[i];
  return total;
}

}  // namespace stagecoach::cpu
