#include "kernels/cpu/conv2d_im2col.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm.h"

namespace stagecoach::cpu {
namespace {

// Rows of one GEMM. More rows share one packing of the weights, fewer stay in the L2 cache
// (384 rows x 1728 taps are 2.6 MB).
constexpr std::int64_t kForwardRows = 384;
constexpr std::int64_t kBackwardInputRows = 256;
// W: a task is a slice of the taps; the pixels are the inner dimension of its GEMMs.
constexpr std::int64_t kWeightRows = 384;
constexpr std::int64_t kWeightSlices = 8;
constexpr std::int64_t kSmallestSlice = 64;
// Taps and channels are cut at multiples of the width of a vector.
constexpr std::int64_t kVector = 16;
constexpr std::int64_t kBiasChannels = 64;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return divide_up(a, b) * b;
}

// Equal blocks of at most `largest` that cover `count`.
std::int64_t block_size(std::int64_t count, std::int64_t largest) {
  return divide_up(count, divide_up(count, largest));
}

std::int64_t forward_rows(const Conv2dShape& s) {
  return block_size(s.rows(), kForwardRows);
}

std::int64_t backward_input_rows(const Conv2dShape& s) {
  return block_size(s.pixels(), kBackwardInputRows);
}

std::int64_t weight_rows(const Conv2dShape& s) {
  return block_size(s.rows(), kWeightRows);
}

std::int64_t weight_slice(const Conv2dShape& s) {
  const std::int64_t slice = round_up(divide_up(s.taps(), kWeightSlices), kVector);
  return std::min(std::max(slice, kSmallestSlice), s.taps());
}

// Floats of scratch memory for one thread.
std::int64_t scratch_floats(const Conv2dShape& s) {
  const std::int64_t floats =
      std::max({forward_rows(s) * s.taps(), backward_input_rows(s) * s.taps(),
                weight_rows(s) * weight_slice(s)});
  return round_up(floats, kVector);
}

std::int64_t workspace_bytes(const Conv2dShape& s, int threads) {
  return threads * scratch_floats(s) * static_cast<std::int64_t>(sizeof(float));
}

void copy(float* to, const float* from, std::int64_t count) {
  // Most segments are short: a vector at a time beats a call of memcpy; the last one overlaps.
  if (count < kVector) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = from[i];
    return;
  }
  std::int64_t i = 0;
  for (; i + kVector <= count; i += kVector) std::memcpy(to + i, from + i, kVector * sizeof(float));
  if (i < count) std::memcpy(to + count - kVector, from + count - kVector, kVector * sizeof(float));
}

void add(float* __restrict to, const float* __restrict from, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += from[i];
}

// Calls body(pixel_row, ky, offset, begin, end) for each output pixel and row ky of the kernel:
// the elements [begin, end) of the kernel's row (kernel_w * channels long) lie inside the input,
// at input[offset + element].
template <typename Body>
void for_each_segment(const Conv2dShape& s, std::int64_t row_begin, std::int64_t row_end,
                      std::int64_t ky_begin, std::int64_t ky_end, const Body& body) {
  std::int64_t image = row_begin / s.pixels();
  std::int64_t oy = row_begin % s.pixels() / s.out_w;
  std::int64_t ox = row_begin % s.out_w;
  for (std::int64_t row = row_begin; row < row_end; ++row) {
    const std::int64_t left = ox * s.options.stride_w - s.options.padding_w;
    const std::int64_t begin = std::clamp<std::int64_t>(-left, 0, s.kernel_w);
    const std::int64_t end = std::clamp<std::int64_t>(s.in_w - left, begin, s.kernel_w);
    for (std::int64_t ky = ky_begin; ky < ky_end; ++ky) {
      const std::int64_t iy = oy * s.options.stride_h - s.options.padding_h + ky;
      const bool inside = iy >= 0 && iy < s.in_h;
      const std::int64_t offset = ((image * s.in_h + iy) * s.in_w + left) * s.channels;
      body(row, ky, offset, begin * s.channels, inside ? end * s.channels : begin * s.channels);
    }
    if (++ox == s.out_w) {
      ox = 0;
      if (++oy == s.out_h) {
        oy = 0;
        ++image;
      }
    }
  }
}

void forward(ThreadPool& pool, void* workspace, const Conv2dShape& s, float* output,
             const float* input, const float* weight, const float* bias) {
  const std::int64_t scratch = scratch_floats(s);
  parallel_ranges(pool, s.rows(), forward_rows(s),
                  [&](std::int64_t begin, std::int64_t end, int thread) {
                    float* columns = static_cast<float*>(workspace) + thread * scratch;
                    im2col(s, input, begin, end, 0, s.taps(), columns);
                    float* rows = output + begin * s.outputs;
                    for (std::int64_t i = 0; i < end - begin; ++i)
                      copy(rows + i * s.outputs, bias, s.outputs);
                    sgemm(Transpose::kNo, Transpose::kYes, end - begin, s.outputs, s.taps(),
                          {columns, s.taps()}, {weight, s.taps()}, 1.0f, {rows, s.outputs});
                  });
}

void backward_input(ThreadPool& pool, void* workspace, const Conv2dShape& s, float* input_grad,
                    const float* output_grad, const float* weight) {
  const std::int64_t scratch = scratch_floats(s);
  const std::int64_t block = backward_input_rows(s);
  // A task is an image: the windows of one image overlap, those of two do not.
  pool.parallel_for(s.images, [&](std::int64_t image, int thread) {
    float* columns = static_cast<float*>(workspace) + thread * scratch;
    std::memset(input_grad + image * s.in_elements(), 0,
                static_cast<std::size_t>(s.in_elements()) * sizeof(float));
    const std::int64_t last = (image + 1) * s.pixels();
    for (std::int64_t begin = image * s.pixels(); begin < last; begin += block) {
      const std::int64_t end = std::min(begin + block, last);
      sgemm(Transpose::kNo, Transpose::kNo, end - begin, s.taps(), s.outputs,
            {output_grad + begin * s.outputs, s.outputs}, {weight, s.taps()}, 0.0f,
            {columns, s.taps()});
      col2im_add(s, columns, begin, end, input_grad);
    }
  });
}

// weight_grad[:, tap_begin:tap_end], over all images.
void weight_slice_grad(float* columns, const Conv2dShape& s, std::int64_t tap_begin,
                       std::int64_t tap_end, float* weight_grad, const float* output_grad,
                       const float* input, GradientMode mode) {
  const std::int64_t block = weight_rows(s);
  const std::int64_t width = tap_end - tap_begin;
  for (std::int64_t begin = 0; begin < s.rows(); begin += block) {
    const std::int64_t end = std::min(begin + block, s.rows());
    im2col(s, input, begin, end, tap_begin, tap_end, columns);
    const bool overwrite = begin == 0 && mode == GradientMode::kOverwrite;
    sgemm(Transpose::kYes, Transpose::kNo, s.outputs, width, end - begin,
          {output_grad + begin * s.outputs, s.outputs}, {columns, width}, overwrite ? 0.0f : 1.0f,
          {weight_grad + tap_begin, s.taps()});
  }
}

// bias_grad[begin:end] = sums over all pixels, one level of partial sums to keep rounding small.
void bias_slice_grad(const Conv2dShape& s, std::int64_t begin, std::int64_t end, float* bias_grad,
                     const float* output_grad, GradientMode mode) {
  float total[kBiasChannels] = {};
  for (std::int64_t first = 0; first < s.rows(); first += kWeightRows) {
    float partial[kBiasChannels] = {};
    const std::int64_t last = std::min(first + kWeightRows, s.rows());
    for (std::int64_t row = first; row < last; ++row) {
      add(partial, output_grad + row * s.outputs + begin, end - begin);
    }
    add(total, partial, end - begin);
  }
  if (mode == GradientMode::kOverwrite) {
    copy(bias_grad + begin, total, end - begin);
  } else {
    add(bias_grad + begin, total, end - begin);
  }
}

void backward_weight(ThreadPool& pool, void* workspace, const Conv2dShape& s, float* weight_grad,
                     float* bias_grad, const float* output_grad, const float* input,
                     GradientMode mode) {
  const std::int64_t scratch = scratch_floats(s);
  const std::int64_t width = weight_slice(s);
  const std::int64_t slices = divide_up(s.taps(), width);
  const std::int64_t bias_slices = divide_up(s.outputs, kBiasChannels);
  pool.parallel_for(slices + bias_slices, [&](std::int64_t i, int thread) {
    if (i < slices) {
      float* columns = static_cast<float*>(workspace) + thread * scratch;
      weight_slice_grad(columns, s, i * width, std::min((i + 1) * width, s.taps()), weight_grad,
                        output_grad, input, mode);
    } else {
      const std::int64_t begin = (i - slices) * kBiasChannels;
      bias_slice_grad(s, begin, std::min(begin + kBiasChannels, s.outputs), bias_grad, output_grad,
                      mode);
    }
  });
}

}  // namespace

void im2col(const Conv2dShape& s, const float* input, std::int64_t row_begin, std::int64_t row_end,
            std::int64_t tap_begin, std::int64_t tap_end, float* columns) {
  const std::int64_t length = s.kernel_w * s.channels;
  const std::int64_t width = tap_end - tap_begin;
  for_each_segment(s, row_begin, row_end, tap_begin / length, divide_up(tap_end, length),
                   [&](std::int64_t row, std::int64_t ky, std::int64_t offset, std::int64_t begin,
                       std::int64_t end) {
                     // The part of this row of the kernel that lies in the slice of taps.
                     const std::int64_t first = std::max<std::int64_t>(tap_begin - ky * length, 0);
                     const std::int64_t last = std::min(tap_end - ky * length, length);
                     begin = std::clamp(begin, first, last);
                     end = std::clamp(end, begin, last);
                     float* to = columns + (row - row_begin) * width + ky * length - tap_begin;
                     std::fill(to + first, to + begin, 0.0f);
                     copy(to + begin, input + offset + begin, end - begin);
                     std::fill(to + end, to + last, 0.0f);
                   });
}

void col2im_add(const Conv2dShape& s, const float* columns, std::int64_t row_begin,
                std::int64_t row_end, float* input_grad) {
  const std::int64_t length = s.kernel_w * s.channels;
  for_each_segment(s, row_begin, row_end, 0, s.kernel_h,
                   [&](std::int64_t row, std::int64_t ky, std::int64_t offset, std::int64_t begin,
                       std::int64_t end) {
                     const float* from = columns + (row - row_begin) * s.taps() + ky * length;
                     add(input_grad + offset + begin, from + begin, end - begin);
                   });
}

const Conv2dAlgorithm& im2col_conv2d() {
  static constexpr Conv2dAlgorithm kAlgorithm{"im2col", workspace_bytes, forward, backward_input,
                                              backward_weight};
  return kAlgorithm;
}

}  // namespace stagecoach::cpu
