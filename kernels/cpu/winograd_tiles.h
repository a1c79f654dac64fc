// The transforms of Winograd's convolution (winograd_points.h), a piece of work at a time, each on
// the calling thread. The tiles of a piece are transformed to 36 matrices, one for each point.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/round_up.h"
#include "kernels/cpu/winograd_points.h"

namespace stagecoach::cpu::winograd {

// A convolution of stride 1 whose output is cut into tiles. Activations lie as [N, H, W, C].
struct Tiling {
  std::int64_t images, in_h, in_w, channels;
  std::int64_t out_h, out_w, outputs;
  std::int64_t kernel;  // 3 or 5
  std::int64_t padding_h, padding_w;

  std::int64_t tile() const { return kSide + 1 - kernel; }  // its outputs: 4 or 2
  std::int64_t tiles_h() const { return (out_h + tile() - 1) / tile(); }
  std::int64_t tiles_w() const { return (out_w + tile() - 1) / tile(); }
  std::int64_t rows() const { return images * tiles_h(); }  // rows of tiles, of all images
};

// 36 row-major matrices, `stride` elements from one to the next.
template <typename T>
struct PointMatrices {
  T* data;
  std::int64_t stride;

  T* at(std::int64_t point) const { return data + point * stride; }
};

// The smallest good stride of matrices of so many elements: an odd number of cache lines, so that
// one element of each matrix is not 36 addresses for the same few places of the cache.
constexpr std::int64_t point_stride(std::int64_t elements) {
  constexpr std::int64_t kLine = 16;
  return ((elements + kLine - 1) / kLine | 1) * kLine;
}

// One row of tiles. A tile has a row of each matrix: tile t of the row is at t * channels (of the
// input) or t * outputs. `zeros` has as many zeros: the pixels outside.
void transform_input_row(const Tiling& t, std::int64_t row, PointMatrices<float> to,
                         const float* input, const float* zeros);
void transform_output_row(const Tiling& t, std::int64_t row, float* output,
                          PointMatrices<const float> from, const float* bias,
                          Activation activation);
void transform_output_grad_row(const Tiling& t, std::int64_t row, PointMatrices<float> to,
                               const float* output_grad, const float* zeros);

// Element (row, column) of the point's matrices comes from the kernel whose taps lie at
// data[row * row_stride + column * column_stride + tap * tap_stride].
struct WeightView {
  const float* data;
  std::int64_t row_stride, column_stride, tap_stride;
};

// The matrices as `layout` has them. Columns from a multiple of 16 on.
void transform_weight_block(std::int64_t kernel, const WeightView& weight, Range rows,
                            Range columns, const PackedLayout& layout, PointMatrices<float> to);

// Matrices [outputs, channels] to weight_grad [outputs, kernel, kernel, channels].
void finish_weight_rows(std::int64_t kernel, std::int64_t channels, Range outputs,
                        float* weight_grad, PointMatrices<const float> from);

}  // namespace stagecoach::cpu::winograd
