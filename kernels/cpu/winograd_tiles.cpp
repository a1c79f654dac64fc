#include "kernels/cpu/winograd_tiles.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/winograd_tiles.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/winograd_transforms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

using namespace winograd;
using namespace winograd_transforms;

// The pixels of a tile: those outside the image are `zeros`.
template <int kSize>
struct Window {
  const float* at[kSize][kSize];

  Window(const float* image, std::int64_t height, std::int64_t width, std::int64_t channels,
         std::int64_t top, std::int64_t left, const float* zeros) {
    for (int y = 0; y < kSize; ++y) {
      for (int x = 0; x < kSize; ++x) {
        const bool inside = top + y >= 0 && top + y < height && left + x >= 0 && left + x < width;
        at[y][x] = inside ? image + ((top + y) * width + left + x) * channels : zeros;
      }
    }
  }
};

// A tile at the points: its row of each matrix, from `offset` on.
template <class Transform, class D>
HWY_INLINE void window_to_points(D d, const Window<Transform::kIn>& window, std::int64_t channel,
                                 PointMatrices<float> to, std::int64_t offset) {
  transform_tile<Transform>(
      d, [&](int y, int x) HWY_ATTR { return hn::LoadU(d, window.at[y][x] + channel); },
      [&](int y, int x, auto value)
          HWY_ATTR { hn::StoreU(value, d, to.at(y * kSide + x) + offset); });
}

void input_row(const Tiling& t, std::int64_t row, PointMatrices<float> to, const float* input,
               const float* zeros) {
  const std::int64_t image = row / t.tiles_h(), tile_y = row % t.tiles_h();
  const float* pixels = input + image * t.in_h * t.in_w * t.channels;
  for (std::int64_t tile_x = 0; tile_x < t.tiles_w(); ++tile_x) {
    const Window<kSide> window(pixels, t.in_h, t.in_w, t.channels, tile_y * t.tile() - t.padding_h,
                               tile_x * t.tile() - t.padding_w, zeros);
    for_each_vector(0, t.channels, [&](auto d, std::int64_t c) HWY_ATTR {
      window_to_points<InputTransform>(d, window, c, to, tile_x * t.channels + c);
    });
  }
}

template <int kTile>
void output_grad_row(const Tiling& t, std::int64_t row, PointMatrices<float> to,
                     const float* output_grad, const float* zeros) {
  const std::int64_t image = row / t.tiles_h(), tile_y = row % t.tiles_h();
  const float* pixels = output_grad + image * t.out_h * t.out_w * t.outputs;
  for (std::int64_t tile_x = 0; tile_x < t.tiles_w(); ++tile_x) {
    const Window<kTile> window(pixels, t.out_h, t.out_w, t.outputs, tile_y * kTile, tile_x * kTile,
                               zeros);
    for_each_vector(0, t.outputs, [&](auto d, std::int64_t o) HWY_ATTR {
      window_to_points<Evaluate<kTile, false>>(d, window, o, to, tile_x * t.outputs + o);
    });
  }
}

template <int kTile, Activation kActivation>
void output_row(const Tiling& t, std::int64_t row, float* output, PointMatrices<const float> from,
                const float* bias) {
  const std::int64_t image = row / t.tiles_h(), top = row % t.tiles_h() * kTile;
  const std::int64_t height = std::min<std::int64_t>(kTile, t.out_h - top);
  for (std::int64_t tile_x = 0; tile_x < t.tiles_w(); ++tile_x) {
    const std::int64_t left = tile_x * kTile;
    const std::int64_t width = std::min<std::int64_t>(kTile, t.out_w - left);
    float* pixels = output + ((image * t.out_h + top) * t.out_w + left) * t.outputs;
    for_each_vector(0, t.outputs, [&](auto d, std::int64_t o) HWY_ATTR {
      const auto shift = hn::LoadU(d, bias + o);
      transform_tile<Interpolate<kTile, false>>(
          d,
          [&](int y, int x)
              HWY_ATTR { return hn::LoadU(d, from.at(y * kSide + x) + tile_x * t.outputs + o); },
          [&](int y, int x, auto value) HWY_ATTR {
            if (y >= height || x >= width) return;
            auto result = hn::Add(value, shift);
            if constexpr (kActivation == Activation::kRelu) {
              result = hn::IfThenZeroElse(hn::Le(result, hn::Zero(d)), result);
            }
            hn::StoreU(result, d, pixels + (y * t.out_w + x) * t.outputs + o);
          });
    });
  }
}

// `count` elements, `stride` apart.
template <class D>
HWY_INLINE hn::Vec<D> load_strided(D d, const float* from, std::int64_t stride) {
  if (stride == 1) return hn::LoadU(d, from);
  const hn::RebindToSigned<D> indices;
  const auto step = hn::Set(indices, static_cast<std::int32_t>(stride));
  return hn::GatherIndex(d, from, hn::Mul(hn::Iota(indices, 0), step));
}

template <int kKernel>
void weight_block(const WeightView& weight, Range rows, Range columns, const PackedLayout& layout,
                  PointMatrices<float> to) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for_each_vector(columns.begin, columns.end, [&](auto d, std::int64_t column) HWY_ATTR {
      const float* taps = weight.data + row * weight.row_stride + column * weight.column_stride;
      const std::int64_t place = layout.at(row, column);
      transform_tile<Evaluate<kKernel, true>>(
          d,
          [&](int y, int x) HWY_ATTR {
            return load_strided(d, taps + (y * kKernel + x) * weight.tap_stride,
                                weight.column_stride);
          },
          [&](int y, int x, auto value)
              HWY_ATTR { hn::StoreU(value, d, to.at(y * kSide + x) + place); });
    });
  }
}

template <int kKernel>
void finish_rows(std::int64_t channels, Range outputs, float* weight_grad,
                 PointMatrices<const float> from) {
  for (std::int64_t output = outputs.begin; output < outputs.end; ++output) {
    float* taps = weight_grad + output * kKernel * kKernel * channels;
    for_each_vector(0, channels, [&](auto d, std::int64_t c) HWY_ATTR {
      transform_tile<Interpolate<kKernel, true>>(
          d,
          [&](int y, int x)
              HWY_ATTR { return hn::LoadU(d, from.at(y * kSide + x) + output * channels + c); },
          [&](int y, int x, auto value)
              HWY_ATTR { hn::StoreU(value, d, taps + (y * kKernel + x) * channels + c); });
    });
  }
}

}  // namespace

void transform_input_row(const Tiling& t, std::int64_t row, PointMatrices<float> to,
                         const float* input, const float* zeros) {
  input_row(t, row, to, input, zeros);
}

void transform_output_row(const Tiling& t, std::int64_t row, float* output,
                          PointMatrices<const float> from, const float* bias,
                          Activation activation) {
  using enum Activation;
  if (activation == kRelu) {
    t.kernel == 3 ? output_row<4, kRelu>(t, row, output, from, bias)
                  : output_row<2, kRelu>(t, row, output, from, bias);
  } else {
    t.kernel == 3 ? output_row<4, kNone>(t, row, output, from, bias)
                  : output_row<2, kNone>(t, row, output, from, bias);
  }
}

void transform_output_grad_row(const Tiling& t, std::int64_t row, PointMatrices<float> to,
                               const float* output_grad, const float* zeros) {
  t.kernel == 3 ? output_grad_row<4>(t, row, to, output_grad, zeros)
                : output_grad_row<2>(t, row, to, output_grad, zeros);
}

void transform_weight_block(std::int64_t kernel, const WeightView& weight, Range rows,
                            Range columns, const PackedLayout& layout, PointMatrices<float> to) {
  kernel == 3 ? weight_block<3>(weight, rows, columns, layout, to)
              : weight_block<5>(weight, rows, columns, layout, to);
}

void finish_weight_rows(std::int64_t kernel, std::int64_t channels, Range outputs,
                        float* weight_grad, PointMatrices<const float> from) {
  kernel == 3 ? finish_rows<3>(channels, outputs, weight_grad, from)
              : finish_rows<5>(channels, outputs, weight_grad, from);
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(transform_input_row);
HWY_EXPORT(transform_output_row);
HWY_EXPORT(transform_output_grad_row);
HWY_EXPORT(transform_weight_block);
HWY_EXPORT(finish_weight_rows);

namespace winograd {

void transform_input_row(const Tiling& t, std::int64_t row, PointMatrices<float> to,
                         const float* input, const float* zeros) {
  HWY_DYNAMIC_DISPATCH(transform_input_row)(t, row, to, input, zeros);
}

void transform_output_row(const Tiling& t, std::int64_t row, float* output,
                          PointMatrices<const float> from, const float* bias,
                          Activation activation) {
  HWY_DYNAMIC_DISPATCH(transform_output_row)(t, row, output, from, bias, activation);
}

void transform_output_grad_row(const Tiling& t, std::int64_t row, PointMatrices<float> to,
                               const float* output_grad, const float* zeros) {
  HWY_DYNAMIC_DISPATCH(transform_output_grad_row)(t, row, to, output_grad, zeros);
}

void transform_weight_block(std::int64_t kernel, const WeightView& weight, Range rows,
                            Range columns, const PackedLayout& layout, PointMatrices<float> to) {
  HWY_DYNAMIC_DISPATCH(transform_weight_block)(kernel, weight, rows, columns, layout, to);
}

void finish_weight_rows(std::int64_t kernel, std::int64_t channels, Range outputs,
                        float* weight_grad, PointMatrices<const float> from) {
  HWY_DYNAMIC_DISPATCH(finish_weight_rows)(kernel, channels, outputs, weight_grad, from);
}

}  // namespace winograd
}  // namespace stagecoach::cpu
#endif
