#include "kernels/cpu/permute.h"

#include <algorithm>

namespace stagecoach::cpu {
namespace {

// A square of this side is read and written while its lines are in the L1 cache.
constexpr std::int64_t kSide = 32;
constexpr std::int64_t kCopy = std::int64_t{1} << 16;

}  // namespace

void transpose(ThreadPool& pool, std::int64_t count, std::int64_t rows, std::int64_t columns,
               float* output, const float* input) {
  const std::int64_t bands = (rows + kSide - 1) / kSide;
  pool.parallel_for(count * bands, [&](std::int64_t i, int) {
    const float* from = input + i / bands * rows * columns;
    float* to = output + i / bands * rows * columns;
    const std::int64_t row = i % bands * kSide;
    const std::int64_t last_row = std::min(row + kSide, rows);
    for (std::int64_t column = 0; column < columns; column += kSide) {
      const std::int64_t last_column = std::min(column + kSide, columns);
      for (std::int64_t c = column; c < last_column; ++c) {
        for (std::int64_t r = row; r < last_row; ++r) to[c * rows + r] = from[r * columns + c];
      }
    }
  });
}

void copy(ThreadPool& pool, std::int64_t elements, float* output, const float* input) {
  parallel_ranges(pool, elements, kCopy, [&](std::int64_t begin, std::int64_t end, int) {
    std::copy(input + begin, input + end, output + begin);
  });
}

}  // namespace stagecoach::cpu
