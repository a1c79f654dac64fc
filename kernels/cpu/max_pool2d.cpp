#include "kernels/cpu/max_pool2d.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/max_pool2d.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

// Channels that one pass over the window works on: the running maxima stay in registers or the
// L1 cache. A constant trip count, so that the compiler vectorises without a remainder.
constexpr std::int64_t kBlock = 64;

// Places [begin, end) along one axis.
struct Range {
  std::int64_t begin, end;
};

// Where the window of an output lies in the input, without the padding.
Range window(std::int64_t out, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
             std::int64_t size) {
  const std::int64_t begin = out * stride - padding;
  return {std::max<std::int64_t>(begin, 0), std::min(begin + kernel, size)};
}

// The outputs whose windows hold an input.
Range windows_with(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                   std::int64_t outputs) {
  const std::int64_t after_first =
      in + padding - kernel + 1;  // begin of the first window, or above
  return {after_first > 0 ? (after_first + stride - 1) / stride : 0,
          std::min((in + padding) / stride + 1, outputs)};
}

// Calls body(begin, count) for the blocks of the channels; `count` is the constant kBlock for all
// but the last.
template <typename Body>
void for_blocks(std::int64_t channels, const Body& body) {
  std::int64_t begin = 0;
  for (; begin + kBlock <= channels; begin += kBlock) body(begin, kBlock);
  if (begin < channels) body(begin, channels - begin);
}

struct Maxima {
  float value[kBlock];
  std::int32_t place[kBlock];  // as wide as the values, so that one mask selects both
};

[[gnu::always_inline]] inline void start(Maxima& maxima, const float* input, std::int32_t place,
                                         std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c) {
    maxima.value[c] = input[c];
    maxima.place[c] = place;
  }
}

[[gnu::always_inline]] inline void update(Maxima& maxima, const float* input, std::int32_t place,
                                          std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c) {
    const float x = input[c];
    const bool wins = (x > maxima.value[c]) | (x != x);  // `|`: no branch, so that it vectorises
    maxima.value[c] = wins ? x : maxima.value[c];
    maxima.place[c] = wins ? place : maxima.place[c];
  }
}

// No place where nothing was above 0 (see MaxPool2dInput).
[[gnu::always_inline]] inline void drop_zeros(Maxima& maxima, std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c) {
    maxima.place[c] = maxima.value[c] > 0.0f ? maxima.place[c] : kNoPlace;
  }
}

}  // namespace

void max_pool2d_forward(ThreadPool& pool, const MaxPool2dShape& shape, float* output,
                        std::uint8_t* index, const float* input, MaxPool2dInput kind) {
  const bool after_relu = kind == MaxPool2dInput::kOutputOfRelu;
  const MaxPool2dOptions o = shape.options;
  const std::int64_t channels = shape.channels;
  const auto pixel = [&](std::int64_t row, std::int64_t oh, std::int64_t ow) {
    const Range rows = window(oh, o.kernel_h, o.stride_h, o.padding_h, shape.in_h);
    const Range columns = window(ow, o.kernel_w, o.stride_w, o.padding_w, shape.in_w);
    const std::int64_t top = oh * o.stride_h - o.padding_h, left = ow * o.stride_w - o.padding_w;
    const float* image = input + row / shape.out_h * shape.in_h * shape.in_w * channels;
    const std::int64_t to = (row * shape.out_w + ow) * channels;
    const auto block = [&](std::int64_t c, std::int64_t count) __attribute__((always_inline)) {
      Maxima maxima;
      for (std::int64_t h = rows.begin; h < rows.end; ++h) {
        for (std::int64_t w = columns.begin; w < columns.end; ++w) {
          const float* from = image + (h * shape.in_w + w) * channels + c;
          const auto place = static_cast<std::int32_t>((h - top) * o.kernel_w + w - left);
          if (h == rows.begin && w == columns.begin) {
            start(maxima, from, place, count);
          } else {
            update(maxima, from, place, count);
          }
        }
      }
      for (std::int64_t i = 0; i < count; ++i) output[to + c + i] = maxima.value[i];
      if (after_relu) drop_zeros(maxima, count);
      for (std::int64_t i = 0; i < count; ++i) {
        index[to + c + i] = static_cast<std::uint8_t>(maxima.place[i]);
      }
    };
    for_blocks(channels, block);
  };
  pool.parallel_for(shape.images * shape.out_h, [&](std::int64_t row, int) {
    for (std::int64_t ow = 0; ow < shape.out_w; ++ow) pixel(row, row % shape.out_h, ow);
  });
}

// Gathers: each input looks at the outputs whose windows hold it, so every gradient is written
// once, by one task.
void max_pool2d_backward(ThreadPool& pool, const MaxPool2dShape& shape, float* input_grad,
                         const float* output_grad, const std::uint8_t* index) {
  const MaxPool2dOptions o = shape.options;
  const std::int64_t channels = shape.channels;
  const auto pixel = [&](std::int64_t row, std::int64_t h, std::int64_t w) {
    const Range rows = windows_with(h, o.kernel_h, o.stride_h, o.padding_h, shape.out_h);
    const Range columns = windows_with(w, o.kernel_w, o.stride_w, o.padding_w, shape.out_w);
    const std::int64_t image = row / shape.in_h * shape.out_h * shape.out_w * channels;
    float* to = input_grad + (row * shape.in_w + w) * channels;
    const auto block = [&](std::int64_t c, std::int64_t count) __attribute__((always_inline)) {
      float sum[kBlock];
      for (std::int64_t i = 0; i < count; ++i) sum[i] = 0.0f;
      for (std::int64_t oh = rows.begin; oh < rows.end; ++oh) {
        for (std::int64_t ow = columns.begin; ow < columns.end; ++ow) {
          const std::int64_t from = image + (oh * shape.out_w + ow) * channels + c;
          const auto place = static_cast<std::uint8_t>(
              (h + o.padding_h - oh * o.stride_h) * o.kernel_w + w + o.padding_w - ow * o.stride_w);
          for (std::int64_t i = 0; i < count; ++i) {
            const float gradient = output_grad[from + i];
            sum[i] += index[from + i] == place ? gradient : 0.0f;
          }
        }
      }
      for (std::int64_t i = 0; i < count; ++i) to[c + i] = sum[i];
    };
    for_blocks(channels, block);
  };
  pool.parallel_for(shape.images * shape.in_h, [&](std::int64_t row, int) {
    for (std::int64_t w = 0; w < shape.in_w; ++w) pixel(row, row % shape.in_h, w);
  });
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(max_pool2d_forward);
HWY_EXPORT(max_pool2d_backward);

void max_pool2d_forward(ThreadPool& pool, const MaxPool2dShape& shape, float* output,
                        std::uint8_t* index, const float* input, MaxPool2dInput kind) {
  HWY_DYNAMIC_DISPATCH(max_pool2d_forward)(pool, shape, output, index, input, kind);
}

void max_pool2d_backward(ThreadPool& pool, const MaxPool2dShape& shape, float* input_grad,
                         const float* output_grad, const std::uint8_t* index) {
  HWY_DYNAMIC_DISPATCH(max_pool2d_backward)(pool, shape, input_grad, output_grad, index);
}

}  // namespace stagecoach::cpu
#endif
