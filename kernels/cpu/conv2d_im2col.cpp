#include "kernels/cpu/conv2d_im2col.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/conv2d_bias.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/relu.h"
#include "kernels/cpu/round_up.h"

namespace stagecoach::cpu {
namespace {

// Most rows of one product: they stay in the L2 cache with their columns.
constexpr std::int64_t kForwardRows = 192;
constexpr std::int64_t kBackwardInputRows = 192;
// B: small images share a task as long as this many tasks are left.
constexpr std::int64_t kBackwardInputTasks = 8;
// W: a task is a slice of the taps; the pixels of an image are the inner dimension of its products.
constexpr std::int64_t kWeightRows = 192;
constexpr std::int64_t kWeightSlices = 8;
constexpr std::int64_t kSmallestSlice = 64;
// Taps and channels are cut at multiples of the width of a vector.
constexpr std::int64_t kVector = 16;

// Equal blocks of at most `largest` that cover `count`.
std::int64_t block_size(std::int64_t count, std::int64_t largest) {
  return divide_up(count, divide_up(count, largest));
}

// Two threads get equally many blocks, unless there is only one.
std::int64_t forward_rows(const Conv2dShape& s) {
  const std::int64_t blocks = divide_up(s.rows(), kForwardRows);
  return divide_up(s.rows(), blocks + (blocks > 1 ? blocks % 2 : 0));
}

std::int64_t backward_input_images(const Conv2dShape& s) {
  return std::clamp<std::int64_t>(kBackwardInputRows / s.pixels(), 1,
                                  std::max<std::int64_t>(s.images / kBackwardInputTasks, 1));
}

std::int64_t backward_input_rows(const Conv2dShape& s) {
  return block_size(backward_input_images(s) * s.pixels(), kBackwardInputRows);
}

std::int64_t weight_rows(const Conv2dShape& s) {
  return block_size(s.pixels(), kWeightRows);
}

std::int64_t weight_slice(const Conv2dShape& s) {
  const std::int64_t slice = round_up(divide_up(s.taps(), kWeightSlices), kVector);
  return std::min(std::max(slice, kSmallestSlice), s.taps());
}

// Floats of scratch memory for one thread, in each direction.
std::int64_t forward_scratch(const Conv2dShape& s) {
  return round_up(forward_rows(s) * s.taps(), kVector);
}
std::int64_t backward_input_scratch(const Conv2dShape& s) {
  return round_up(backward_input_rows(s) * s.taps(), kVector);
}
// The columns, and the gradient of an image, of a slice of the taps.
std::int64_t weight_columns(const Conv2dShape& s) {
  return round_up(weight_rows(s) * weight_slice(s), kVector);
}
std::int64_t weight_scratch(const Conv2dShape& s) {
  return weight_columns(s) + round_up(s.outputs * weight_slice(s), kVector);
}

constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));

// The form of the weight for F and B is its packed matrix.
std::int64_t forward_form_floats(const Conv2dShape& s) {
  return packed_floats(s.taps(), s.outputs);
}
void make_forward_form(ThreadPool&, const Conv2dShape& s, float* form, const float* weight) {
  pack(Transpose::kYes, s.taps(), s.outputs, {weight, s.taps()}, form);
}
std::int64_t backward_form_floats(const Conv2dShape& s) {
  return packed_floats(s.outputs, s.taps());
}
void make_backward_form(ThreadPool&, const Conv2dShape& s, float* form, const float* weight) {
  pack(Transpose::kNo, s.outputs, s.taps(), {weight, s.taps()}, form);
}

std::int64_t forward_bytes(const Conv2dShape& s, int threads) {
  return threads * forward_scratch(s) * kFloat;
}
std::int64_t backward_input_bytes(const Conv2dShape& s, int threads) {
  return threads * backward_input_scratch(s) * kFloat;
}
std::int64_t backward_weight_bytes(const Conv2dShape& s, int threads) {
  return threads * weight_scratch(s) * kFloat;
}

bool fits_all(const Conv2dShape&, Convolution) {
  return true;
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
             const float* input, const float* form, const float* bias, Activation activation) {
  parallel_ranges(pool, s.rows(), forward_rows(s),
                  [&](std::int64_t begin, std::int64_t end, int thread) {
                    float* columns = static_cast<float*>(workspace) + thread * forward_scratch(s);
                    im2col(s, input, begin, end, 0, s.taps(), columns);
                    float* rows = output + begin * s.outputs;
                    for (std::int64_t i = 0; i < end - begin; ++i) {
                      copy(rows + i * s.outputs, bias, s.outputs);
                    }
                    sgemm_packed(end - begin, s.outputs, s.taps(), {columns, s.taps()}, form,
                                 SumFrom::kOutput, {rows, s.outputs});
                    if (activation == Activation::kRelu) {
                      relu_in_place((end - begin) * s.outputs, rows);
                    }
                  });
}

// An input's gradient is a sum of plain additions over the pixels that read it, in their order;
// each is a chain over the outputs.
void backward_input(ThreadPool& pool, void* workspace, const Conv2dShape& s, float* input_grad,
                    const float* output_grad, const float* form) {
  const std::int64_t block = backward_input_rows(s);
  // A task has whole images: the windows of one image overlap, those of two do not.
  parallel_ranges(
      pool, s.images, backward_input_images(s),
      [&](std::int64_t first, std::int64_t last, int thread) {
        float* columns = static_cast<float*>(workspace) + thread * backward_input_scratch(s);
        std::fill(input_grad + first * s.in_elements(), input_grad + last * s.in_elements(), 0.0f);
        for (std::int64_t begin = first * s.pixels(); begin < last * s.pixels(); begin += block) {
          const std::int64_t end = std::min(begin + block, last * s.pixels());
          sgemm_packed(end - begin, s.taps(), s.outputs,
                       {output_grad + begin * s.outputs, s.outputs}, form, SumFrom::kZero,
                       {columns, s.taps()});
          col2im_add(s, columns, begin, end, input_grad);
        }
      });
}

// grad [O, taps of the range]: a chain over the pixels of one image.
void image_weight_grad(float* columns, const Conv2dShape& s, std::int64_t image, Range taps,
                       Matrix<float> grad, const float* output_grad, const float* input) {
  const std::int64_t first = image * s.pixels(), last = first + s.pixels(), block = weight_rows(s);
  for (std::int64_t begin = first; begin < last; begin += block) {
    const std::int64_t end = std::min(begin + block, last);
    im2col(s, input, begin, end, taps.begin, taps.end, columns);
    sgemm(Transpose::kYes, Transpose::kNo, s.outputs, taps.size(), end - begin,
          {output_grad + begin * s.outputs, s.outputs}, {columns, taps.size()},
          begin == first ? SumFrom::kZero : SumFrom::kOutput, grad);
  }
}

// to = or += an image's gradient: the first image of a step writes.
void add_image(std::int64_t count, float* to, const float* from, bool overwrite) {
  overwrite ? copy(to, from, count) : add(to, from, count);
}

void slice_weight_grad(float* scratch, const Conv2dShape& s, Range taps, float* weight_grad,
                       const float* output_grad, const float* input, GradientMode mode) {
  float* grad = scratch + weight_columns(s);
  for (std::int64_t image = 0; image < s.images; ++image) {
    image_weight_grad(scratch, s, image, taps, {grad, taps.size()}, output_grad, input);
    for (std::int64_t o = 0; o < s.outputs; ++o) {
      add_image(taps.size(), weight_grad + o * s.taps() + taps.begin, grad + o * taps.size(),
                image == 0 && mode == GradientMode::kOverwrite);
    }
  }
}

void backward_weight(ThreadPool& pool, void* workspace, const Conv2dShape& s, float* weight_grad,
                     float* bias_grad, const float* output_grad, const float* input,
                     GradientMode mode) {
  const std::int64_t width = weight_slice(s);
  const std::int64_t tasks = divide_up(s.taps(), width);
  const std::int64_t bias_tasks = divide_up(s.outputs, kBiasChannels);
  pool.parallel_for(tasks + bias_tasks, [&](std::int64_t i, int thread) {
    if (i >= tasks) {
      const std::int64_t begin = (i - tasks) * kBiasChannels;
      conv2d_bias_grad(s, 0, s.images, begin, std::min(begin + kBiasChannels, s.outputs), bias_grad,
                       output_grad, mode == GradientMode::kOverwrite);
    } else {
      float* scratch = static_cast<float*>(workspace) + thread * weight_scratch(s);
      slice_weight_grad(scratch, s, {i * width, std::min((i + 1) * width, s.taps())}, weight_grad,
                        output_grad, input, mode);
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
                     // Sums of indices first: a pointer before its array is not defined.
                     const std::int64_t to = (row - row_begin) * width + ky * length - tap_begin;
                     std::fill(columns + (to + first), columns + (to + begin), 0.0f);
                     if (begin < end) {
                       copy(columns + (to + begin), input + (offset + begin), end - begin);
                     }
                     std::fill(columns + (to + end), columns + (to + last), 0.0f);
                   });
}

void col2im_add(const Conv2dShape& s, const float* columns, std::int64_t row_begin,
                std::int64_t row_end, float* input_grad) {
  const std::int64_t length = s.kernel_w * s.channels;
  for_each_segment(s, row_begin, row_end, 0, s.kernel_h,
                   [&](std::int64_t row, std::int64_t ky, std::int64_t offset, std::int64_t begin,
                       std::int64_t end) {
                     const float* from = columns + (row - row_begin) * s.taps() + ky * length;
                     if (begin < end) {
                       add(input_grad + (offset + begin), from + begin, end - begin);
                     }
                   });
}

const Conv2dForward kIm2colForward = {
    {"im2col", fits_all, forward_bytes, forward}, forward_form_floats, make_forward_form};
const Conv2dBackwardInput kIm2colBackwardInput = {
    {"im2col", fits_all, backward_input_bytes, backward_input},
    backward_form_floats,
    make_backward_form};
const Conv2dBackwardWeight kIm2colBackwardWeight = {
    {"im2col", fits_all, backward_weight_bytes, backward_weight}, nullptr, nullptr};

}  // namespace stagecoach::cpu
