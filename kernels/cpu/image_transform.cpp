#include "kernels/cpu/image_transform.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/resize_filter.h"

namespace stagecoach::cpu {
namespace {

constexpr std::int64_t kChannels = 3;

std::uint8_t round_to_byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kFilterBits, 0, 255));
}

constexpr std::int32_t kHalf = 1 << (kFilterBits - 1);

// What every image shares.
struct Plan {
  std::int64_t side, crop;
  ResizeFilter filter;
  std::vector<float> values;  // byte -> network input, [channel, 256]
};

struct Window {
  std::int64_t begin, end;      // along the input
  const std::int32_t* weights;  // one per pixel of it
};

Window window_of(const ResizeFilter& filter, std::int64_t output) {
  const auto i = static_cast<std::size_t>(output);
  return {filter.begin[i], filter.end[i], filter.weights.data() + output * filter.widest};
}

// The columns of the crop, for input rows [first, last) of one plane: [last - first, crop].
void resize_columns(const Plan& plan, std::int64_t left, std::int64_t first, std::int64_t last,
                    const std::uint8_t* plane, std::uint8_t* output) {
  for (std::int64_t x = 0; x < plan.crop; ++x) {
    const Window window = window_of(plan.filter, left + x);
    for (std::int64_t row = first; row < last; ++row) {
      std::int32_t sum = kHalf;
      for (std::int64_t i = window.begin; i < window.end; ++i) {
        sum += plane[row * plan.side + i] * window.weights[i - window.begin];
      }
      output[(row - first) * plan.crop + x] = round_to_byte(sum);
    }
  }
}

// One row of one plane of the crop, from the rows that resize_columns() made.
void resize_row(const Plan& plan, const Window& window, const std::uint8_t* rows,
                std::int32_t* sums, std::uint8_t* output) {
  std::fill(sums, sums + plan.crop, kHalf);
  for (std::int64_t i = 0; i < window.end - window.begin; ++i) {
    const std::int32_t weight = window.weights[i];
    const std::uint8_t* row = rows + i * plan.crop;
    for (std::int64_t x = 0; x < plan.crop; ++x) sums[x] += row[x] * weight;
  }
  for (std::int64_t x = 0; x < plan.crop; ++x) output[x] = round_to_byte(sums[x]);
}

// A row of the three planes as pixels of the network's input.
void interleave(const Plan& plan, bool flip, const std::uint8_t* planes, float* output) {
  const std::int64_t start = flip ? plan.crop - 1 : 0, step = flip ? -1 : 1;
  const float* values = plan.values.data();
  for (std::int64_t x = 0; x < plan.crop; ++x) {
    const std::uint8_t* from = planes + start + x * step;
    for (std::int64_t c = 0; c < kChannels; ++c) {
      output[x * kChannels + c] = values[c * 256 + from[c * plan.crop]];
    }
  }
}

void transform_image(const Plan& plan, const ImageCrop& crop, const std::uint8_t* image,
                     float* output) {
  const std::int64_t first = window_of(plan.filter, crop.top).begin;
  const std::int64_t last = window_of(plan.filter, crop.top + plan.crop - 1).end;
  const std::int64_t plane = (last - first) * plan.crop;
  std::vector<std::uint8_t> columns(static_cast<std::size_t>(kChannels * plane));
  std::vector<std::int32_t> sums(static_cast<std::size_t>(plan.crop));
  std::vector<std::uint8_t> rows(static_cast<std::size_t>(kChannels * plan.crop));
  for (std::int64_t c = 0; c < kChannels; ++c) {
    resize_columns(plan, crop.left, first, last, image + c * plan.side * plan.side,
                   columns.data() + c * plane);
  }
  for (std::int64_t y = 0; y < plan.crop; ++y) {
    const Window window = window_of(plan.filter, crop.top + y);
    for (std::int64_t c = 0; c < kChannels; ++c) {
      resize_row(plan, window, columns.data() + c * plane + (window.begin - first) * plan.crop,
                 sums.data(), rows.data() + c * plan.crop);
    }
    interleave(plan, crop.flip, rows.data(), output + y * plan.crop * kChannels);
  }
}

}  // namespace

void transform_images(ThreadPool& pool, std::int64_t count, std::int64_t side, float* output,
                      const std::uint8_t* images, const ImageCrop* crops,
                      const ImageTransform& transform) {
  const Plan plan{side, transform.crop, make_resize_filter(side, transform.resize),
                  normalised_values(transform)};
  pool.parallel_for(count, [&](std::int64_t i, int) {
    transform_image(plan, crops[i], images + i * kChannels * side * side,
                    output + i * kChannels * transform.crop * transform.crop);
  });
}

}  // namespace stagecoach::cpu
