// Shape: the logical dimensions of a tensor, at most four, outermost first.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace stagecoach {

class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;  // rank 0, one element
  // Throws Error for more than kMaxRank dimensions or a negative one.
  Shape(std::initializer_list<std::int64_t> dims);

  int rank() const { return rank_; }
  // Dimension i; throws Error when i is not in [0, rank).
  std::int64_t operator[](int i) const;
  // The same shape with dimension i set to `size` >= 0; throws Error like operator[].
  Shape with(int i, std::int64_t size) const;
  // Product of the dimensions; 1 for rank 0. Throws Error when it does not fit into 64 bits.
  std::int64_t elements() const;
  std::string to_string() const;  // "[8, 3, 224, 224]"

  bool operator==(const Shape& other) const = default;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};  // unused entries stay 0
  int rank_ = 0;
};

}  // namespace stagecoach
