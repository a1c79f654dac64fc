// Whole pieces of a size.
#pragma once

#include <cstdint>

namespace stagecoach::cpu {

// a / b and the next multiple of b, rounded up, for a >= 0 and b > 0.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return divide_up(a, b) * b;
}

// The pieces [begin, end).
struct Range {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};

}  // namespace stagecoach::cpu
