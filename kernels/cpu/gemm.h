// Matrix products whose bits nothing but the problem decides, on the calling thread alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/round_up.h"

namespace stagecoach::cpu {

enum class Transpose { kNo, kYes };

// A row-major matrix: `stride` elements from one row to the next.
template <typename T>
struct Matrix {
  T* data;
  std::int64_t stride;
};

// What each sum of a product starts from.
enum class SumFrom { kZero, kOutput };

// c [m, n] = a b, or c + a b, where a is [m, k] and b [k, n] after transposing: every element is
// one chain of fused multiply-adds in ascending k, from 0 or from what is in c. Cutting m or n
// changes no bit, nor does cutting k into products one after another. May be called by many threads
// at once.
void sgemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n,
           std::int64_t k, Matrix<const float> a, Matrix<const float> b, SumFrom from,
           Matrix<float> c);

// The same for a b that many products share, packed once: `packed` has packed_floats(k, n).
std::int64_t packed_floats(std::int64_t k, std::int64_t n);
void pack(Transpose transpose_b, std::int64_t k, std::int64_t n, Matrix<const float> b,
          float* packed);
// Where pack() has element (row, column) of b [k, n], for whoever writes it there himself. Columns
// from a multiple of 4 on lie side by side as far as a vector goes; between the last one and the
// next multiple of kMostColumns there are zeros.
constexpr std::int64_t kMostColumns = 32;
struct PackedLayout {
  std::int64_t k, n, depth, few_columns, vector, panel;

  std::int64_t width(std::int64_t columns) const {  // of the panel that has so many
    return columns <= few_columns ? few_columns : columns <= vector ? vector : panel;
  }
  std::int64_t at(std::int64_t row, std::int64_t column) const {
    const std::int64_t first = row / depth * depth, begin = column / panel * panel;
    const std::int64_t rows = std::min(depth, k - first);
    return first * round_up(n, panel) + begin * rows + (row - first) * width(n - begin) + column -
           begin;
  }
};
PackedLayout packed_layout(std::int64_t k, std::int64_t n);
void sgemm_packed(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const float> a,
                  const float* packed, SumFrom from, Matrix<float> c);

// c [m, n] (+)= a [m, k] b [k, n] for few rows and a large b, which is read once, as it lies: a
// copy of it in panels would take longer than the product.
// Faster than sgemm() for up to kStreamRows rows.
constexpr std::int64_t kStreamRows = 16;
void sgemm_streamed(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const float> a,
                    Matrix<const float> b, SumFrom from, Matrix<float> c);

// A matrix of k in runs, as an image has it under a window that moves: element (i, k) lies at
// data[i * row + k / run * run_step + k % run * step].
struct RunsMatrix {
  const float* data;
  std::int64_t row, run, run_step, step;
};

// c [m, n] (+)= a [m, k] b [k, n], both read as they lie, for operands that a cache holds. n is a
// multiple of kWholeColumns, and k of a's runs.
constexpr std::int64_t kWholeColumns = 16;
void sgemm_runs(std::int64_t m, std::int64_t n, std::int64_t k, RunsMatrix a, Matrix<const float> b,
                SumFrom from, Matrix<float> c);

}  // namespace stagecoach::cpu
