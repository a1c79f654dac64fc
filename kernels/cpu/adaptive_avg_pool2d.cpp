#include "kernels/cpu/adaptive_avg_pool2d.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/adaptive_avg_pool2d.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

struct Range {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};

// The places of an axis of `to` cells that cell i of an axis of `from` cells shares a part with,
// both axes being of length one. Both directions use it: the inputs under an output, and the
// outputs over an input.
Range overlap(std::int64_t i, std::int64_t from, std::int64_t to) {
  return {i * to / from, ((i + 1) * to + from - 1) / from};
}

}  // namespace

void adaptive_avg_pool2d_forward(ThreadPool& pool, const AdaptiveAvgPool2dShape& shape,
                                 float* output, const float* input) {
  const std::int64_t channels = shape.channels;
  pool.parallel_for(shape.images * shape.out_h, [&](std::int64_t row, int) {
    const Range rows = overlap(row % shape.out_h, shape.out_h, shape.in_h);
    const float* image = input + row / shape.out_h * shape.in_h * shape.in_w * channels;
    for (std::int64_t ow = 0; ow < shape.out_w; ++ow) {
      const Range columns = overlap(ow, shape.out_w, shape.in_w);
      float* to = output + (row * shape.out_w + ow) * channels;
      std::fill(to, to + channels, 0.0f);
      for (std::int64_t h = rows.begin; h < rows.end; ++h) {
        for (std::int64_t w = columns.begin; w < columns.end; ++w) {
          const float* from = image + (h * shape.in_w + w) * channels;
          for (std::int64_t c = 0; c < channels; ++c) to[c] += from[c];
        }
      }
      const auto cells = static_cast<float>(rows.size() * columns.size());
      for (std::int64_t c = 0; c < channels; ++c) to[c] /= cells;
    }
  });
}

// Gathers: each input looks at the outputs that averaged it, so one task writes each gradient.
void adaptive_avg_pool2d_backward(ThreadPool& pool, const AdaptiveAvgPool2dShape& shape,
                                  float* input_grad, const float* output_grad) {
  const std::int64_t channels = shape.channels;
  pool.parallel_for(shape.images * shape.in_h, [&](std::int64_t row, int) {
    const Range rows = overlap(row % shape.in_h, shape.in_h, shape.out_h);
    const float* image = output_grad + row / shape.in_h * shape.out_h * shape.out_w * channels;
    for (std::int64_t w = 0; w < shape.in_w; ++w) {
      const Range columns = overlap(w, shape.in_w, shape.out_w);
      float* to = input_grad + (row * shape.in_w + w) * channels;
      std::fill(to, to + channels, 0.0f);
      for (std::int64_t oh = rows.begin; oh < rows.end; ++oh) {
        for (std::int64_t ow = columns.begin; ow < columns.end; ++ow) {
          const float* from = image + (oh * shape.out_w + ow) * channels;
          const auto cells = static_cast<float>(overlap(oh, shape.out_h, shape.in_h).size() *
                                                overlap(ow, shape.out_w, shape.in_w).size());
          for (std::int64_t c = 0; c < channels; ++c) to[c] += from[c] / cells;
        }
      }
    }
  });
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(adaptive_avg_pool2d_forward);
HWY_EXPORT(adaptive_avg_pool2d_backward);

void adaptive_avg_pool2d_forward(ThreadPool& pool, const AdaptiveAvgPool2dShape& shape,
                                 float* output, const float* input) {
  HWY_DYNAMIC_DISPATCH(adaptive_avg_pool2d_forward)(pool, shape, output, input);
}

void adaptive_avg_pool2d_backward(ThreadPool& pool, const AdaptiveAvgPool2dShape& shape,
                                  float* input_grad, const float* output_grad) {
  HWY_DYNAMIC_DISPATCH(adaptive_avg_pool2d_backward)(pool, shape, input_grad, output_grad);
}

}  // namespace stagecoach::cpu
#endif
