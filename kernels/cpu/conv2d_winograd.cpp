#include "kernels/cpu/conv2d_winograd.h"

#include <algorithm>

#include "kernels/cpu/conv2d_bias.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/round_up.h"
#include "kernels/cpu/winograd_tiles.h"

namespace stagecoach::cpu {
namespace {

using winograd::kPoints;
using winograd::point_stride;
using winograd::PointMatrices;
using winograd::Tiling;
using winograd::WeightView;

// F and B: the transformed tiles of a thread's block, of the input and of the output, stay in its
// L2 cache: so many floats.
constexpr std::int64_t kThreadBlock = std::int64_t{3} << 17;
// W: those of a block, which all threads share, are this many times as large as the transformed
// weights, whose sums every block reads and writes, but at least so many floats.
constexpr std::int64_t kBlockWeights = 2;
constexpr std::int64_t kSmallestBlock = std::int64_t{1} << 19;
// A task of the weights' transforms: a cache line of columns, or so many rows.
constexpr std::int64_t kWeightTask = 16;

Tiling forward_tiling(const Conv2dShape& s) {
  return {s.images, s.in_h,    s.in_w,     s.channels,          s.out_h,
          s.out_w,  s.outputs, s.kernel_h, s.options.padding_h, s.options.padding_w};
}

// B is F of the output gradient with flipped and transposed weights.
Tiling backward_tiling(const Conv2dShape& s) {
  return {s.images,
          s.out_h,
          s.out_w,
          s.outputs,
          s.in_h,
          s.in_w,
          s.channels,
          s.kernel_h,
          s.kernel_h - 1 - s.options.padding_h,
          s.kernel_w - 1 - s.options.padding_w};
}

// What a block of rows of tiles needs, and where it lies in the workspace.
struct Block {
  // Of at most so many floats, where a row has no more; two threads get equally many rows.
  Block(const Tiling& t, std::int64_t largest)
      : tiles_w(t.tiles_w()), channels(t.channels), outputs(t.outputs) {
    const std::int64_t row_floats = kPoints * tiles_w * (channels + outputs);
    rows = divide_up(t.rows(), divide_up(t.rows() * row_floats, largest));
    rows = std::min(rows + rows % 2, t.rows());
    in_stride = point_stride(rows * tiles_w * channels);
    out_stride = point_stride(rows * tiles_w * outputs);
    zeros = point_stride(std::max(channels, outputs));
  }
  std::int64_t floats() const { return zeros + kPoints * (in_stride + out_stride); }

  std::int64_t tiles_w, channels, outputs;
  std::int64_t rows, in_stride, out_stride, zeros;
};

Block thread_block(const Tiling& t) {
  return {t, kThreadBlock};
}
Block shared_block(const Tiling& t) {
  return {t, std::max(kBlockWeights * kPoints * t.channels * t.outputs, kSmallestBlock)};
}

struct BlockMemory {
  BlockMemory(const Block& block, float* floats)
      : zeros(floats),
        in{zeros + block.zeros, block.in_stride},
        out{in.at(kPoints), block.out_stride} {
    std::fill(zeros, zeros + block.zeros, 0.0f);
  }
  float* zeros;
  PointMatrices<float> in, out;
};

std::int64_t packed_stride(std::int64_t k, std::int64_t n) {
  return point_stride(packed_floats(k, n));
}

// Those that transform_weight_block() writes; it leaves out what fills up the last columns.
PointMatrices<float> packed_matrices(const PackedLayout& layout, float* floats) {
  const PointMatrices<float> matrices{floats, packed_stride(layout.k, layout.n)};
  if (layout.n % kMostColumns != 0) std::fill(floats, matrices.at(kPoints), 0.0f);
  return matrices;
}

PointMatrices<float> from_tile(PointMatrices<float> matrices, std::int64_t tile,
                               std::int64_t columns) {
  return {matrices.data + tile * columns, matrices.stride};
}

// body(rows, tiles of the rows) for each block, in order.
template <typename Body>
void for_each_block(const Tiling& t, const Block& block, const Body& body) {
  for (std::int64_t begin = 0; begin < t.rows(); begin += block.rows) {
    const Range rows{begin, std::min(begin + block.rows, t.rows())};
    body(rows, (rows.end - rows.begin) * block.tiles_w);
  }
}

// A thread takes a block through all three steps.
void convolve(ThreadPool& pool, void* workspace, const Tiling& t, float* output, const float* input,
              const float* transformed, const float* bias, Activation activation) {
  const Block block = thread_block(t);
  const PointMatrices<const float> weight{transformed, packed_stride(t.channels, t.outputs)};
  parallel_ranges(
      pool, t.rows(), block.rows, [&](std::int64_t begin, std::int64_t end, int thread) {
        const BlockMemory memory(block, static_cast<float*>(workspace) + thread * block.floats());
        for (std::int64_t row = begin, tile = 0; row < end; ++row, tile += block.tiles_w) {
          transform_input_row(t, row, from_tile(memory.in, tile, t.channels), input, memory.zeros);
        }
        for (std::int64_t point = 0; point < kPoints; ++point) {
          sgemm_packed((end - begin) * block.tiles_w, t.outputs, t.channels,
                       {memory.in.at(point), t.channels}, weight.at(point), SumFrom::kZero,
                       {memory.out.at(point), t.outputs});
        }
        for (std::int64_t row = begin, tile = 0; row < end; ++row, tile += block.tiles_w) {
          const PointMatrices<float> from = from_tile(memory.out, tile, t.outputs);
          transform_output_row(t, row, output, {from.data, from.stride},
                               bias == nullptr ? memory.zeros : bias, activation);
        }
      });
}

}  // namespace

bool winograd_fits(const Conv2dShape& s) {
  return s.options.stride_h == 1 && s.options.stride_w == 1 && s.kernel_h == s.kernel_w &&
         (s.kernel_h == 3 || s.kernel_h == 5) && s.options.padding_h < s.kernel_h &&
         s.options.padding_w < s.kernel_w;
}

std::int64_t winograd_workspace_bytes(const Conv2dShape& s, int threads) {
  const Tiling forward = forward_tiling(s), backward = backward_tiling(s);
  const std::int64_t of_thread =
      std::max(thread_block(forward).floats(), thread_block(backward).floats());
  return std::max(threads * of_thread, shared_block(forward).floats()) *
         static_cast<std::int64_t>(sizeof(float));
}

std::int64_t winograd_forward_weight_floats(const Conv2dShape& s) {
  return kPoints * packed_stride(s.channels, s.outputs);
}
std::int64_t winograd_backward_weight_floats(const Conv2dShape& s) {
  return kPoints * packed_stride(s.outputs, s.channels);
}

std::int64_t winograd_sums_floats(const Conv2dShape& s) {
  return kPoints * point_stride(s.channels * s.outputs);
}

// Matrices [channels, outputs].
void winograd_transform_weight_forward(ThreadPool& pool, const Conv2dShape& s, float* transformed,
                                       const float* weight) {
  const WeightView view{weight, 1, s.taps(), s.channels};
  const PackedLayout layout = packed_layout(s.channels, s.outputs);
  const PointMatrices<float> to = packed_matrices(layout, transformed);
  parallel_ranges(pool, s.outputs, kWeightTask, [&](std::int64_t begin, std::int64_t end, int) {
    transform_weight_block(s.kernel_h, view, {0, s.channels}, {begin, end}, layout, to);
  });
}

// Matrices [outputs, channels]; the taps from the last to the first.
void winograd_transform_weight_backward(ThreadPool& pool, const Conv2dShape& s, float* transformed,
                                        const float* weight) {
  const float* last_tap = weight + (s.kernel_h * s.kernel_w - 1) * s.channels;
  const WeightView view{last_tap, s.taps(), 1, -s.channels};
  const PackedLayout layout = packed_layout(s.outputs, s.channels);
  const PointMatrices<float> to = packed_matrices(layout, transformed);
  parallel_ranges(pool, s.outputs, kWeightTask, [&](std::int64_t begin, std::int64_t end, int) {
    transform_weight_block(s.kernel_h, view, {begin, end}, {0, s.channels}, layout, to);
  });
}

void winograd_forward(ThreadPool& pool, void* workspace, const Conv2dShape& s, float* output,
                      const float* input, const float* transformed, const float* bias,
                      Activation activation) {
  convolve(pool, workspace, forward_tiling(s), output, input, transformed, bias, activation);
}

void winograd_backward_input(ThreadPool& pool, void* workspace, const Conv2dShape& s,
                             float* input_grad, const float* output_grad,
                             const float* transformed) {
  convolve(pool, workspace, backward_tiling(s), input_grad, output_grad, transformed, nullptr,
           Activation::kNone);
}

void winograd_accumulate_weight(ThreadPool& pool, void* workspace, const Conv2dShape& s,
                                float* sums, float* bias_grad, const float* output_grad,
                                const float* input, GradientMode mode) {
  const Tiling t = forward_tiling(s);
  const Block block = shared_block(t);
  const BlockMemory memory(block, static_cast<float*>(workspace));
  const PointMatrices<float> to{sums, point_stride(s.channels * s.outputs)};
  const std::int64_t bias_tasks = divide_up(s.outputs, kBiasChannels);
  const bool overwrite = mode == GradientMode::kOverwrite;
  for_each_block(t, block, [&](Range rows, std::int64_t tiles) {
    const std::int64_t count = rows.end - rows.begin;
    pool.parallel_for(count + bias_tasks, [&](std::int64_t i, int) {
      if (i >= count) {
        // Of the images that end in this block: their pixels are in the cache.
        const std::int64_t begin = (i - count) * kBiasChannels;
        const std::int64_t first = rows.begin / t.tiles_h();
        conv2d_bias_grad(s, first, rows.end / t.tiles_h(), begin,
                         std::min(begin + kBiasChannels, s.outputs), bias_grad, output_grad,
                         overwrite && first == 0);
        return;
      }
      const std::int64_t row = rows.begin + i, tile = i * block.tiles_w;
      transform_input_row(t, row, from_tile(memory.in, tile, s.channels), input, memory.zeros);
      transform_output_grad_row(t, row, from_tile(memory.out, tile, s.outputs), output_grad,
                                memory.zeros);
    });
    pool.parallel_for(kPoints, [&](std::int64_t point, int) {
      sgemm(Transpose::kYes, Transpose::kNo, s.outputs, s.channels, tiles,
            {memory.out.at(point), s.outputs}, {memory.in.at(point), s.channels},
            overwrite && rows.begin == 0 ? SumFrom::kZero : SumFrom::kOutput,
            {to.at(point), s.channels});
    });
  });
}

void winograd_finish_weight(ThreadPool& pool, const Conv2dShape& s, float* weight_grad,
                            const float* sums) {
  const PointMatrices<const float> from{sums, point_stride(s.channels * s.outputs)};
  parallel_ranges(pool, s.outputs, kWeightTask, [&](std::int64_t begin, std::int64_t end, int) {
    finish_weight_rows(s.kernel_h, s.channels, {begin, end}, weight_grad, from);
  });
}

namespace {

// With few channels the transforms take longer than the products save.
bool fits(const Conv2dShape& s, Convolution wanted) {
  constexpr std::int64_t kFewChannels = 16;
  if (wanted == Convolution::kDirect || !winograd_fits(s)) return false;
  return wanted == Convolution::kWinograd || std::min(s.channels, s.outputs) >= kFewChannels;
}

}  // namespace

const Conv2dForward kWinogradForward = {
    {"winograd", fits, winograd_workspace_bytes, winograd_forward},
    winograd_forward_weight_floats,
    winograd_transform_weight_forward};
const Conv2dBackwardInput kWinogradBackwardInput = {
    {"winograd", fits, winograd_workspace_bytes, winograd_backward_input},
    winograd_backward_weight_floats,
    winograd_transform_weight_backward};
const Conv2dBackwardWeight kWinogradBackwardWeight = {
    {"winograd", fits, winograd_workspace_bytes, winograd_accumulate_weight},
    winograd_sums_floats,
    winograd_finish_weight};

}  // namespace stagecoach::cpu
