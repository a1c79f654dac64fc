#include "core/shape.h"

#include <fmt/ranges.h>

#include "core/error.h"

namespace stagecoach {

Shape::Shape(std::initializer_list<std::int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  STAGECOACH_CHECK(rank_ <= kMaxRank, "Shape", fmt::format("at most {} dimensions", kMaxRank),
                   fmt::format("{}", rank_));
  int i = 0;
  for (std::int64_t dim : dims) {
    STAGECOACH_CHECK(dim >= 0, "Shape", "dimensions >= 0",
                     fmt::format("[{}]", fmt::join(dims, ", ")));
    dims_[i++] = dim;
  }
}

std::int64_t Shape::operator[](int i) const {
  STAGECOACH_CHECK(i >= 0 && i < rank_, "Shape", fmt::format("an index below the rank {}", rank_),
                   fmt::format("{}", i));
  return dims_[i];
}

Shape Shape::with(int i, std::int64_t size) const {
  STAGECOACH_CHECK(i >= 0 && i < rank_ && size >= 0, "Shape",
                   fmt::format("an index below the rank {} and a size >= 0", rank_),
                   fmt::format("index {}, size {}", i, size));
  Shape result = *this;
  result.dims_[i] = size;
  return result;
}

std::int64_t Shape::elements() const {
  std::int64_t product = 1;
  bool overflows = false, empty = false;
  for (int i = 0; i < rank_; ++i) {
    overflows |= __builtin_mul_overflow(product, dims_[i], &product);
    empty |= dims_[i] == 0;
  }
  STAGECOACH_CHECK(!overflows || empty, "Shape", "less than 2^63 elements", to_string());
  return product;
}

std::string Shape::to_string() const {
  return fmt::format("[{}]", fmt::join(dims_.begin(), dims_.begin() + rank_, ", "));
}

}  // namespace stagecoach
