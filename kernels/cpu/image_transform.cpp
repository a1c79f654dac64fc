#include "kernels/cpu/image_transform.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/resize_filter.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/image_transform.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::int64_t kChannels = 3;
constexpr std::int64_t kGroup = 4;  // a vector that holds the channels of a pixel
constexpr std::int32_t kHalf = 1 << (kFilterBits - 1);

constexpr hn::ScalableTag<float> kFloats;
constexpr hn::RebindToSigned<decltype(kFloats)> kIntegers;
constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(kFloats));
constexpr std::int64_t kBlock = kChannels * kLanes;  // whole pixels in whole vectors

// 1 / x, to twice the digits of a float.
struct Reciprocal {
  explicit Reciprocal(float x)
      : high(static_cast<float>(1.0 / x)), low(static_cast<float>(1.0 / x - high)) {}
  float high, low;
};

// What every image shares.
struct Plan {
  Plan(std::int64_t side_, const ImageTransform& transform)
      : side(side_), crop(transform.crop), filter(make_resize_filter(side, transform.resize)) {
    for (std::int64_t i = 0; i < kBlock; ++i) {
      const Reciprocal reciprocal(transform.std[i % kChannels]);
      mean[i] = transform.mean[i % kChannels];
      high[i] = reciprocal.high;
      low[i] = reciprocal.low;
    }
  }

  std::int64_t side, crop;
  ResizeFilter filter;
  // Of each channel, and of 1 / std: for a block.
  float mean[kBlock], high[kBlock], low[kBlock];

  std::int64_t row() const { return kChannels * crop; }
  // Rows in memory, with what vectors write and read behind their end.
  std::int64_t padded_row() const { return row() + kBlock; }
};

struct Window {
  std::int64_t begin, end;      // along the input
  const std::int32_t* weights;  // one per pixel of it
};

Window window_of(const ResizeFilter& filter, std::int64_t output) {
  const auto i = static_cast<std::size_t>(output);
  return {filter.begin[i], filter.end[i], filter.weights.data() + output * filter.widest};
}

// A weighted sum of bytes as a byte: the weights are positive, and their sum is 1.
template <class D>
hn::Vec<D> rounded(D d, hn::Vec<D> sum) {
  return hn::ShiftRight<kFilterBits>(hn::Add(sum, hn::Set(d, kHalf)));
}

// The rows [first, last) of an image's planes as [column, row, kGroup].
void transpose_planes(std::int64_t side, std::int64_t first, std::int64_t last,
                      const std::uint8_t* image, std::int32_t* columns) {
  for (std::int64_t c = 0; c < kChannels; ++c) {
    for (std::int64_t row = first; row < last; ++row) {
      const std::uint8_t* from = image + (c * side + row) * side;
      std::int32_t* to = columns + (row - first) * kGroup + c;
      for (std::int64_t x = 0; x < side; ++x) to[x * (last - first) * kGroup] = from[x];
    }
  }
}

// The columns of the crop, mirrored where it is, of `count` rows: [count, padded_row()].
void resize_columns(const Plan& plan, const ImageCrop& crop, std::int64_t count,
                    const std::int32_t* columns, std::int32_t* rows) {
  constexpr hn::FixedTag<std::int32_t, kGroup> kPixel;
  for (std::int64_t x = 0; x < plan.crop; ++x) {
    const Window window = window_of(plan.filter, crop.left + (crop.flip ? plan.crop - 1 - x : x));
    const std::int32_t* from = columns + window.begin * count * kGroup;
    // Two at least: the second weight is 0 where there is one.
    const bool one = window.end - window.begin == 1;
    const std::int32_t* next = one ? from : from + count * kGroup;
    const auto first_weight = hn::Set(kPixel, window.weights[0]);
    const auto second_weight = hn::Set(kPixel, window.weights[1]);
    for (std::int64_t row = 0; row < count; ++row) {
      auto sum = hn::Mul(hn::LoadU(kPixel, from + row * kGroup), first_weight);
      sum = hn::Add(sum, hn::Mul(hn::LoadU(kPixel, next + row * kGroup), second_weight));
      for (std::int64_t i = 2; i < window.end - window.begin; ++i) {
        const auto pixel = hn::LoadU(kPixel, from + (i * count + row) * kGroup);
        sum = hn::Add(sum, hn::Mul(pixel, hn::Set(kPixel, window.weights[i])));
      }
      // The last of the group is overwritten by the next pixel.
      hn::StoreU(rounded(kPixel, sum), kPixel, rows + row * plan.padded_row() + x * kChannels);
    }
  }
}

// x / y for the reciprocal of y: but for the rarest of quotients, as rounded as by a division.
template <class V>
V quotient(V x, V high, V low) {
  return hn::MulAdd(x, high, hn::Mul(x, low));
}

// Two rows of bytes and their weights.
struct TwoRows {
  const std::int32_t *first, *second;
  std::int32_t first_weight, second_weight;
};

// The sum of two rows, normalised: a row of the result.
template <bool kStream>
void normalise(const Plan& plan, const TwoRows& rows, float* output) {
  using V = hn::Vec<decltype(kFloats)>;
  const auto first_weight = hn::Set(kIntegers, rows.first_weight);
  const auto second_weight = hn::Set(kIntegers, rows.second_weight);
  const Reciprocal of_255(255.0f);
  const V high = hn::Set(kFloats, of_255.high), low = hn::Set(kFloats, of_255.low);
  V mean[kChannels], std_high[kChannels], std_low[kChannels];  // of the vectors of a block
  for (std::int64_t v = 0; v < kChannels; ++v) {
    mean[v] = hn::LoadU(kFloats, plan.mean + v * kLanes);
    std_high[v] = hn::LoadU(kFloats, plan.high + v * kLanes);
    std_low[v] = hn::LoadU(kFloats, plan.low + v * kLanes);
  }
  const auto block = [&](std::int64_t x, float* to) {
    for (std::int64_t v = 0; v < kChannels; ++v, x += kLanes, to += kLanes) {
      auto sum = hn::Mul(hn::LoadU(kIntegers, rows.first + x), first_weight);
      sum = hn::Add(sum, hn::Mul(hn::LoadU(kIntegers, rows.second + x), second_weight));
      const V scaled = quotient(hn::ConvertTo(kFloats, rounded(kIntegers, sum)), high, low);
      const V value = quotient(hn::Sub(scaled, mean[v]), std_high[v], std_low[v]);
      if constexpr (kStream) {
        hn::Stream(value, kFloats, to);
      } else {
        hn::StoreU(value, kFloats, to);
      }
    }
  };
  std::int64_t x = 0;
  for (; x + kBlock <= plan.row(); x += kBlock) block(x, output + x);
  if (x == plan.row()) return;
  alignas(64) float rest[kBlock];
  block(x, rest);
  std::copy_n(rest, plan.row() - x, output + x);
}

// What is to be summed for a row of the crop, from the rows that resize_columns() made: more than
// two are summed in `sums`.
TwoRows rows_of(const Plan& plan, const Window& window, const std::int32_t* rows,
                std::int32_t* sums) {
  const std::int64_t stride = plan.padded_row(), count = window.end - window.begin;
  if (count == 1) return {rows, rows, window.weights[0], 0};
  if (count == 2) return {rows, rows + stride, window.weights[0], window.weights[1]};
  std::fill(sums, sums + stride, 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t* row = rows + i * stride;
    const std::int32_t weight = window.weights[i];
    for (std::int64_t x = 0; x < stride; ++x) sums[x] += row[x] * weight;
  }
  return {sums, sums, 1, 0};
}

void transform_image(const Plan& plan, const ImageCrop& crop, const std::uint8_t* image,
                     float* output) {
  const std::int64_t first = window_of(plan.filter, crop.top).begin;
  const std::int64_t last = window_of(plan.filter, crop.top + plan.crop - 1).end;
  const std::int64_t count = last - first;
  std::vector<std::int32_t> columns(static_cast<std::size_t>(plan.side * count * kGroup));
  std::vector<std::int32_t> rows(static_cast<std::size_t>(count * plan.padded_row()));
  std::vector<std::int32_t> sums(static_cast<std::size_t>(plan.padded_row()));
  transpose_planes(plan.side, first, last, image, columns.data());
  resize_columns(plan, crop, count, columns.data(), rows.data());
  // Past the caches where whole vectors allow that: a batch is larger than these.
  const bool stream = plan.row() % kBlock == 0 &&
                      reinterpret_cast<std::uintptr_t>(output) % (kLanes * sizeof(float)) == 0;
  for (std::int64_t y = 0; y < plan.crop; ++y) {
    const Window window = window_of(plan.filter, crop.top + y);
    const TwoRows two = rows_of(
        plan, window, rows.data() + (window.begin - first) * plan.padded_row(), sums.data());
    float* to = output + y * plan.row();
    stream ? normalise<true>(plan, two, to) : normalise<false>(plan, two, to);
  }
  hwy::FlushStream();
}

}  // namespace

void transform_images(ThreadPool& pool, std::int64_t count, std::int64_t side, float* output,
                      const std::uint8_t* images, const ImageCrop* crops,
                      const ImageTransform& transform) {
  const Plan plan(side, transform);
  pool.parallel_for(count, [&](std::int64_t i, int) {
    transform_image(plan, crops[i], images + i * kChannels * side * side,
                    output + i * kChannels * transform.crop * transform.crop);
  });
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(transform_images);

void transform_images(ThreadPool& pool, std::int64_t count, std::int64_t side, float* output,
                      const std::uint8_t* images, const ImageCrop* crops,
                      const ImageTransform& transform) {
  HWY_DYNAMIC_DISPATCH(transform_images)(pool, count, side, output, images, crops, transform);
}

}  // namespace stagecoach::cpu
#endif
