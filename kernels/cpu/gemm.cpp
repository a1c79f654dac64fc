// A product in the usual blocks: a panel of b (kDepth x kColumns) stays in the L1 cache, a block of
// a (kBlockRows x kDepth) in L2, and a tile of c in registers. b is copied into panels, and so is a
// where it is transposed; otherwise its rows are read as they lie.
#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/cpu/round_up.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef STAGECOACH_KERNELS_CPU_GEMM_ONCE
#define STAGECOACH_KERNELS_CPU_GEMM_ONCE

namespace stagecoach::cpu::gemm {

// Of one block, and the widest vectors: 16 floats, two of them in a row of a tile, 12 rows.
constexpr std::int64_t kDepth = 256;
constexpr std::int64_t kFewColumnsDepth = 2304;
constexpr std::int64_t kShallow = 64;
constexpr std::int64_t kBlockRows = 96;
constexpr std::int64_t kBlockColumns = 512;
constexpr std::int64_t kMostRows = 12;

// sgemm_streamed, of so many rows and columns at once, sums beside c: rows of c are often a
// multiple of 4 KiB apart, and push one another out of the cache.
constexpr std::int64_t kStreamColumns = 2560;
constexpr std::int64_t kStreamStride = kStreamColumns + kMostColumns;

// Rows of a that lie this far apart are fetched this much ahead, as each is a page of its own to
// the processor; and a tile has fewer of them, because many lie at the same few places of the L1
// cache.
constexpr std::int64_t kFar = 1024;
constexpr std::int64_t kAhead = 512;
constexpr std::int64_t kFarRows = 8;
constexpr std::int64_t kRowsAhead = 8;  // of what is packed

struct alignas(64) Scratch {
  float b[kDepth * kBlockColumns];
  float a[kDepth * kBlockRows];
  float c[kStreamRows * kStreamStride];
  float tile[kMostRows * kMostColumns];
};

// Of the calling thread, made when it first multiplies.
inline Scratch& scratch() {
  thread_local const std::unique_ptr<Scratch> memory(new Scratch);
  return *memory;
}

}  // namespace stagecoach::cpu::gemm

#endif

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;
using namespace gemm;

constexpr Floats kFloats;
constexpr std::int64_t kLanes = hn::MaxLanes(kFloats);
// A tile of c: as many sums as the registers hold beside what they are made of.
constexpr std::int64_t kRows = kLanes == 16 ? 12 : 6;
constexpr std::int64_t kColumns = 2 * kLanes;
// Few columns, as batches of a fully connected layer often are, fill no vector of 16.
constexpr std::int64_t kFewColumns = kLanes == 16 ? 8 : kLanes;
static_assert(kBlockRows % kRows == 0 && kBlockColumns % kColumns == 0);

// How a tile's part of a lies: as RunsMatrix says, near or far apart, or in a strip (see
// pack_strips), where element (i, k) is [k * kRows + i].
enum class Rows { kNear, kFar, kStrip };

// One tile's product, of so many runs of a.
struct Tile {
  std::int64_t runs;
  RunsMatrix a;
  Matrix<const float> b;
  SumFrom from;
  Matrix<float> c;
};

// What lies behind the end of the memory is no error, but its address is no pointer's.
HWY_INLINE const void* address_of(const float* from, std::int64_t floats) {
  return reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(from) +
                                       static_cast<std::uintptr_t>(floats) * sizeof(float));
}
// Into the L2 cache.
HWY_INLINE void fetch(const float* from, std::int64_t floats) {
  __builtin_prefetch(address_of(from, floats), 0, 2);
}

constexpr std::int64_t most_rows(Rows of_a) {
  return of_a == Rows::kFar ? std::min(kRows, kFarRows) : kRows;
}

// R rows and V vectors of L floats. Without sanitizers, which would make it 80 times slower, and
// all tests that train with it: what a tile reads and writes is tested by guards around it.
template <std::int64_t L, std::int64_t R, std::int64_t V, Rows kOfA>
__attribute__((no_sanitize("address", "undefined", "thread"))) void multiply_tile(const Tile& t) {
  constexpr hn::CappedTag<float, L> d;
  constexpr bool kStrip = kOfA == Rows::kStrip;
  const std::int64_t row = kStrip ? 1 : t.a.row, step = kStrip ? kRows : t.a.step;
  hn::Vec<decltype(d)> sums[R][V];
#pragma GCC unroll 12
  for (std::int64_t i = 0; i < R; ++i) {
#pragma GCC unroll 2
    for (std::int64_t v = 0; v < V; ++v) {
      sums[i][v] =
          t.from == SumFrom::kZero ? hn::Zero(d) : hn::LoadU(d, t.c.data + i * t.c.stride + v * L);
    }
    // The sums below, which are mostly the next: writing waits for them, too.
#pragma GCC unroll 2
    for (std::int64_t line = 0; line < V * L; line += 16) {
      __builtin_prefetch(address_of(t.c.data, (i + R) * t.c.stride + line), 1);
    }
  }
  const float* HWY_RESTRICT b = t.b.data;
  for (std::int64_t run = 0; run < t.runs; ++run) {
    const float* HWY_RESTRICT a = t.a.data + run * t.a.run_step;
    for (std::int64_t k = 0; k < t.a.run; ++k, a += step, b += t.b.stride) {
      if (kOfA == Rows::kFar && k % 16 == 0) {
#pragma GCC unroll 12
        for (std::int64_t i = 0; i < R; ++i) fetch(a, i * row + kAhead);
      }
      hn::Vec<decltype(d)> y[V];
#pragma GCC unroll 2
      for (std::int64_t v = 0; v < V; ++v) y[v] = hn::LoadU(d, b + v * L);
#pragma GCC unroll 12
      for (std::int64_t i = 0; i < R; ++i) {
        const auto x = hn::Set(d, a[i * row]);
#pragma GCC unroll 2
        for (std::int64_t v = 0; v < V; ++v) sums[i][v] = hn::MulAdd(x, y[v], sums[i][v]);
      }
    }
  }
#pragma GCC unroll 12
  for (std::int64_t i = 0; i < R; ++i) {
#pragma GCC unroll 2
    for (std::int64_t v = 0; v < V; ++v) {
      hn::StoreU(sums[i][v], d, t.c.data + i * t.c.stride + v * L);
    }
  }
}

// The same for `rows` in [1, R].
template <std::int64_t L, std::int64_t V, Rows kOfA, std::int64_t R = most_rows(kOfA)>
void multiply_rows_of_tile(std::int64_t rows, const Tile& tile) {
  if constexpr (R > 1) {
    if (rows < R) return multiply_rows_of_tile<L, V, kOfA, R - 1>(rows, tile);
  }
  multiply_tile<L, R, V, kOfA>(tile);
}

// A panel is as wide as a tile; the last one as few vectors as hold its columns.
std::int64_t panel_width(std::int64_t left) {
  return PackedLayout{0, 0, 0, kFewColumns, kLanes, kColumns}.width(left);
}

// `columns` in [1, kColumns], of which b has whole vectors, but c may not.
template <Rows kOfA>
void multiply(std::int64_t rows, std::int64_t columns, Tile tile) {
  const std::int64_t width = panel_width(columns);
  const Matrix<float> c = tile.c;
  const bool edge = columns != width;
  if (edge) {
    tile.c = {scratch().tile, kColumns};
    for (std::int64_t i = 0; tile.from == SumFrom::kOutput && i < rows; ++i) {
      std::copy_n(c.data + i * c.stride, columns, tile.c.data + i * kColumns);
    }
  }
  if (width == kFewColumns) {
    multiply_rows_of_tile<kFewColumns, 1, kOfA>(rows, tile);
  } else if (width == kLanes) {
    multiply_rows_of_tile<kLanes, 1, kOfA>(rows, tile);
  } else {
    multiply_rows_of_tile<kLanes, 2, kOfA>(rows, tile);
  }
  for (std::int64_t i = 0; edge && i < rows; ++i) {
    std::copy_n(tile.c.data + i * kColumns, columns, c.data + i * c.stride);
  }
}

// Of the blocks of a packed b. Where few columns share what is read of a, long pieces of its rows
// come faster from memory.
std::int64_t packed_depth(std::int64_t n) {
  return n <= kFewColumns ? kFewColumnsDepth : kDepth;
}

// The next tile's rows of those that are left: tiles of about the same height.
std::int64_t tile_rows(std::int64_t left, Rows of_a) {
  return divide_up(left, divide_up(left, most_rows(of_a)));
}

Matrix<const float> part(Transpose transpose, Matrix<const float> matrix, std::int64_t row,
                         std::int64_t column) {
  if (transpose == Transpose::kYes) std::swap(row, column);
  return {matrix.data + row * matrix.stride + column, matrix.stride};
}

// b [depth, columns] as panels, filled up with zeros. Row by row of what lies in memory, as rows
// may be pages apart; those to come are fetched ahead.
void pack_columns(Transpose transpose, std::int64_t depth, std::int64_t columns,
                  Matrix<const float> b, float* HWY_RESTRICT packed) {
  const std::int64_t whole = columns / kColumns * kColumns, rest = columns - whole;
  const std::int64_t width = panel_width(rest);
  if (rest > 0) std::fill_n(packed + whole * depth, width * depth, 0.0f);
  if (transpose == Transpose::kYes) {
    for (std::int64_t j = 0; j < columns; j += kColumns) {
      const std::int64_t count = std::min(kColumns, columns - j);
      const std::int64_t step = panel_width(columns - j);
      for (std::int64_t k = 0; k < depth; ++k) {
        float* to = packed + j * depth + k * step;
        for (std::int64_t c = 0; c < count; ++c) to[c] = b.data[(j + c) * b.stride + k];
      }
    }
    return;
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    const float* from = b.data + k * b.stride;
    for (std::int64_t j = 0; j < whole; j += kColumns) {
      float* to = packed + j * depth + k * kColumns;
      for (std::int64_t line = 0; line < kColumns; line += 16) {
        fetch(from, kRowsAhead * b.stride + j + line);
      }
      hn::StoreU(hn::LoadU(kFloats, from + j), kFloats, to);
      hn::StoreU(hn::LoadU(kFloats, from + j + kLanes), kFloats, to + kLanes);
    }
    if (rest > 0) std::copy_n(from + whole, rest, packed + whole * depth + k * width);
  }
}

// The transpose of a [depth, rows] as strips, one for each tile. Strips lie close together, while
// rows of a may be so far apart that they push one another out of the cache.
void pack_strips(std::int64_t rows, std::int64_t depth, Matrix<const float> a,
                 float* HWY_RESTRICT strips) {
  for (std::int64_t i = 0, count = 0; i < rows; i += count, strips += kRows * depth) {
    count = tile_rows(rows - i, Rows::kStrip);
    for (std::int64_t k = 0; k < depth; ++k) {
      const float* from = a.data + k * a.stride + i;
      for (std::int64_t line = 0; i == 0 && line < rows; line += 16) {
        fetch(from, kRowsAhead * a.stride + line);
      }
      if (count == kRows) {
        std::memcpy(strips + k * kRows, from, kRows * sizeof(float));
      } else {
        std::copy_n(from, count, strips + k * kRows);
      }
    }
  }
}

// c [rows, columns] (+)= a b for packed panels of b.
void multiply_block(Transpose transpose_a, std::int64_t rows, std::int64_t columns,
                    std::int64_t depth, Matrix<const float> a, const float* b, SumFrom from,
                    Matrix<float> c) {
  const Rows of_a = transpose_a == Transpose::kYes ? Rows::kStrip
                    : a.stride >= kFar             ? Rows::kFar
                                                   : Rows::kNear;
  if (of_a == Rows::kStrip) pack_strips(rows, depth, a, scratch().a);
  const auto multiply_at = [&](std::int64_t i, std::int64_t count, const float* strip,
                               std::int64_t j) {
    const Matrix<const float> panel{b + j * depth, panel_width(columns - j)};
    const Matrix<float> to{c.data + i * c.stride + j, c.stride};
    const std::int64_t width = std::min(kColumns, columns - j);
    const RunsMatrix rows_of_a{a.data + i * a.stride, a.stride, depth, 0, 1};
    if (of_a == Rows::kStrip) {
      multiply<Rows::kStrip>(count, width, {1, {strip, 0, depth, 0, 0}, panel, from, to});
    } else if (of_a == Rows::kFar) {
      multiply<Rows::kFar>(count, width, {1, rows_of_a, panel, from, to});
    } else {
      multiply<Rows::kNear>(count, width, {1, rows_of_a, panel, from, to});
    }
  };
  // A deep panel stays in the L1 cache for all rows. Where it is shallow, the time goes by writing
  // c, and a row in one piece is better.
  const std::int64_t piece = depth <= kShallow ? columns : kColumns;
  for (std::int64_t first = 0; first < columns; first += piece) {
    const float* strip = scratch().a;
    for (std::int64_t i = 0, count = 0; i < rows; i += count, strip += kRows * depth) {
      count = tile_rows(rows - i, of_a);
      for (std::int64_t j = first; j < first + piece && j < columns; j += kColumns) {
        multiply_at(i, count, strip, j);
      }
    }
  }
}

// All rows, for one block of b.
void multiply_rows(Transpose transpose_a, std::int64_t m, std::int64_t columns, std::int64_t first,
                   std::int64_t depth, Matrix<const float> a, const float* b, SumFrom from,
                   Matrix<float> c) {
  for (std::int64_t i = 0; i < m; i += kBlockRows) {
    multiply_block(transpose_a, std::min(kBlockRows, m - i), columns, depth,
                   part(transpose_a, a, i, first), b, first == 0 ? from : SumFrom::kOutput,
                   {c.data + i * c.stride, c.stride});
  }
}

// c [rows, columns] += a [rows, L] b [L, columns]: a cache line of each row of b at a time.
template <std::int64_t L>
void stream_lines(std::int64_t rows, std::int64_t columns, Matrix<const float> a,
                  Matrix<const float> b, Matrix<float> c) {
  constexpr std::int64_t kLine = 16, kVectors = kLine / kLanes;
  std::int64_t j = 0;
  for (; j + kLine <= columns; j += kLine) {
    Vector y[L][kVectors];
#pragma GCC unroll 8
    for (std::int64_t l = 0; l < L; ++l) {
#pragma GCC unroll 4
      for (std::int64_t v = 0; v < kVectors; ++v) {
        y[l][v] = hn::LoadU(kFloats, b.data + l * b.stride + j + v * kLanes);
      }
    }
    for (std::int64_t i = 0; i < rows; ++i) {
      float* to = c.data + i * c.stride + j;
      Vector sums[kVectors];
#pragma GCC unroll 4
      for (std::int64_t v = 0; v < kVectors; ++v) sums[v] = hn::LoadU(kFloats, to + v * kLanes);
#pragma GCC unroll 8
      for (std::int64_t l = 0; l < L; ++l) {
        const Vector x = hn::Set(kFloats, a.data[i * a.stride + l]);
#pragma GCC unroll 4
        for (std::int64_t v = 0; v < kVectors; ++v) sums[v] = hn::MulAdd(x, y[l][v], sums[v]);
      }
#pragma GCC unroll 4
      for (std::int64_t v = 0; v < kVectors; ++v) hn::StoreU(sums[v], kFloats, to + v * kLanes);
    }
  }
  for (; j < columns; ++j) {
    for (std::int64_t i = 0; i < rows; ++i) {
      float& sum = c.data[i * c.stride + j];
      for (std::int64_t l = 0; l < L; ++l) {
        sum = std::fma(a.data[i * a.stride + l], b.data[l * b.stride + j], sum);
      }
    }
  }
}

// For at most kStreamRows x kStreamColumns.
void stream_block(std::int64_t rows, std::int64_t columns, std::int64_t k, Matrix<const float> a,
                  Matrix<const float> b, Matrix<float> c) {
  constexpr std::int64_t kLines = kLanes == 16 ? 8 : 4;  // as registers hold
  std::int64_t first = 0;
  for (; first + kLines <= k; first += kLines) {
    stream_lines<kLines>(rows, columns, part(Transpose::kNo, a, 0, first),
                         part(Transpose::kNo, b, first, 0), c);
  }
  for (; first < k; ++first) {
    stream_lines<1>(rows, columns, part(Transpose::kNo, a, 0, first),
                    part(Transpose::kNo, b, first, 0), c);
  }
}

}  // namespace

void sgemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n,
           std::int64_t k, Matrix<const float> a, Matrix<const float> b, SumFrom from,
           Matrix<float> c) {
  for (std::int64_t j = 0; j < n; j += kBlockColumns) {
    const std::int64_t columns = std::min(kBlockColumns, n - j);
    for (std::int64_t first = 0; first < k; first += kDepth) {
      const std::int64_t depth = std::min(kDepth, k - first);
      pack_columns(transpose_b, depth, columns, part(transpose_b, b, first, j), scratch().b);
      multiply_rows(transpose_a, m, columns, first, depth, a, scratch().b, from,
                    {c.data + j, c.stride});
    }
  }
}

void pack(Transpose transpose_b, std::int64_t k, std::int64_t n, Matrix<const float> b,
          float* packed) {
  for (std::int64_t first = 0; first < k; first += packed_depth(n)) {
    const std::int64_t depth = std::min(packed_depth(n), k - first);
    pack_columns(transpose_b, depth, n, part(transpose_b, b, first, 0),
                 packed + first * round_up(n, kColumns));
  }
}

PackedLayout packed_layout(std::int64_t k, std::int64_t n) {
  return {k, n, packed_depth(n), kFewColumns, kLanes, kColumns};
}

void sgemm_packed(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const float> a,
                  const float* packed, SumFrom from, Matrix<float> c) {
  for (std::int64_t first = 0; first < k; first += packed_depth(n)) {
    const std::int64_t depth = std::min(packed_depth(n), k - first);
    multiply_rows(Transpose::kNo, m, n, first, depth, a, packed + first * round_up(n, kColumns),
                  from, c);
  }
}

void sgemm_streamed(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const float> a,
                    Matrix<const float> b, SumFrom from, Matrix<float> c) {
  const Matrix<float> sums{scratch().c, kStreamStride};
  for (std::int64_t i = 0; i < m; i += kStreamRows) {
    for (std::int64_t j = 0; j < n; j += kStreamColumns) {
      const std::int64_t rows = std::min(kStreamRows, m - i),
                         columns = std::min(kStreamColumns, n - j);
      float* to = c.data + i * c.stride + j;
      for (std::int64_t r = 0; r < rows; ++r) {
        float* row = sums.data + r * sums.stride;
        from == SumFrom::kZero ? std::fill_n(row, columns, 0.0f)
                               : std::copy_n(to + r * c.stride, columns, row);
      }
      stream_block(rows, columns, k, part(Transpose::kNo, a, i, 0), part(Transpose::kNo, b, 0, j),
                   sums);
      for (std::int64_t r = 0; r < rows; ++r) {
        std::copy_n(sums.data + r * sums.stride, columns, to + r * c.stride);
      }
    }
  }
}

void sgemm_runs(std::int64_t m, std::int64_t n, std::int64_t k, RunsMatrix a, Matrix<const float> b,
                SumFrom from, Matrix<float> c) {
  const float* const first = a.data;
  for (std::int64_t i = 0, count = 0; i < m; i += count) {
    count = tile_rows(m - i, Rows::kNear);
    a.data = first + i * a.row;
    for (std::int64_t j = 0; j < n; j += kColumns) {
      multiply<Rows::kNear>(
          count, std::min(kColumns, n - j),
          {k / a.run, a, {b.data + j, b.stride}, from, {c.data + i * c.stride + j, c.stride}});
    }
  }
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(sgemm);
HWY_EXPORT(pack);
HWY_EXPORT(packed_layout);
HWY_EXPORT(sgemm_packed);
HWY_EXPORT(sgemm_streamed);
HWY_EXPORT(sgemm_runs);

void sgemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n,
           std::int64_t k, Matrix<const float> a, Matrix<const float> b, SumFrom from,
           Matrix<float> c) {
  HWY_DYNAMIC_DISPATCH(sgemm)(transpose_a, transpose_b, m, n, k, a, b, from, c);
}

std::int64_t packed_floats(std::int64_t k, std::int64_t n) {
  return k * round_up(n, kMostColumns);
}

void pack(Transpose transpose_b, std::int64_t k, std::int64_t n, Matrix<const float> b,
          float* packed) {
  HWY_DYNAMIC_DISPATCH(pack)(transpose_b, k, n, b, packed);
}

PackedLayout packed_layout(std::int64_t k, std::int64_t n) {
  return HWY_DYNAMIC_DISPATCH(packed_layout)(k, n);
}

void sgemm_packed(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const float> a,
                  const float* packed, SumFrom from, Matrix<float> c) {
  HWY_DYNAMIC_DISPATCH(sgemm_packed)(m, n, k, a, packed, from, c);
}

void sgemm_streamed(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const float> a,
                    Matrix<const float> b, SumFrom from, Matrix<float> c) {
  HWY_DYNAMIC_DISPATCH(sgemm_streamed)(m, n, k, a, b, from, c);
}

void sgemm_runs(std::int64_t m, std::int64_t n, std::int64_t k, RunsMatrix a, Matrix<const float> b,
                SumFrom from, Matrix<float> c) {
  HWY_DYNAMIC_DISPATCH(sgemm_runs)(m, n, k, a, b, from, c);
}

}  // namespace stagecoach::cpu
#endif
