#include "kernels/cpu/image_transform.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace stagecoach::cpu {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;  // Pillow's
constexpr std::int64_t kChannels = 3;

// Which input pixels make an output pixel, and how much of each.
struct Filter {
  struct Window {
    std::int64_t begin, end;      // along the input
    const std::int32_t* weights;  // one per pixel of it, fixed point
  };
  // One per output pixel. A square image has the same filter for rows and columns.
  std::vector<Window> windows;
  std::vector<std::int32_t> weights;
};

double triangle(double x) {
  const double distance = std::abs(x);
  return distance < 1.0 ? 1.0 - distance : 0.0;
}

// Pillow's precompute_coeffs and normalize_coeffs_8bpc, in their order of operations.
Filter make_filter(std::int64_t from, std::int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double support = std::max(scale, 1.0);  // of the triangle, in input pixels
  const auto widest = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  Filter filter;
  filter.weights.resize(static_cast<std::size_t>(to * widest));
  std::vector<double> exact(static_cast<std::size_t>(widest));
  for (std::int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto begin = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto end = std::min(static_cast<std::int64_t>(center + support + 0.5), from);
    double sum = 0.0;
    for (std::int64_t x = begin; x < end; ++x) {
      const double place = static_cast<double>(x) - center + 0.5;
      sum += exact[static_cast<std::size_t>(x - begin)] = triangle(place * (1.0 / support));
    }
    std::int32_t* weights = filter.weights.data() + i * widest;
    for (std::int64_t x = begin; x < end; ++x) {
      const double weight = exact[static_cast<std::size_t>(x - begin)] / sum;
      weights[x - begin] = static_cast<std::int32_t>(0.5 + weight * (1 << kPrecisionBits));
    }
    filter.windows.push_back({begin, end, weights});
  }
  return filter;
}

std::uint8_t round_to_byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

// What every image shares.
struct Plan {
  std::int64_t side, crop;
  Filter filter;
  float values[kChannels][256];  // byte -> network input
};

Plan make_plan(std::int64_t side, const ImageTransform& transform) {
  Plan plan{side, transform.crop, make_filter(side, transform.resize), {}};
  for (std::size_t c = 0; c < kChannels; ++c) {
    for (int byte = 0; byte < 256; ++byte) {
      const float scaled = static_cast<float>(byte) / 255.0f;
      plan.values[c][byte] = (scaled - transform.mean[c]) / transform.std[c];
    }
  }
  return plan;
}

// The columns of the crop, for input rows [first, last) of one plane: [last - first, crop].
void resize_columns(const Plan& plan, std::int64_t left, std::int64_t first, std::int64_t last,
                    const std::uint8_t* plane, std::uint8_t* output) {
  for (std::int64_t x = 0; x < plan.crop; ++x) {
    const Filter::Window window = plan.filter.windows[static_cast<std::size_t>(left + x)];
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
void resize_row(const Plan& plan, const Filter::Window& window, const std::uint8_t* rows,
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
  for (std::int64_t x = 0; x < plan.crop; ++x) {
    const std::uint8_t* from = planes + start + x * step;
    for (std::int64_t c = 0; c < kChannels; ++c) {
      output[x * kChannels + c] = plan.values[c][from[c * plan.crop]];
    }
  }
}

void transform_image(const Plan& plan, const ImageCrop& crop, const std::uint8_t* image,
                     float* output) {
  const Filter::Window* windows = plan.filter.windows.data() + crop.top;
  const std::int64_t first = windows[0].begin, last = windows[plan.crop - 1].end;
  const std::int64_t plane = (last - first) * plan.crop;
  std::vector<std::uint8_t> columns(static_cast<std::size_t>(kChannels * plane));
  std::vector<std::int32_t> sums(static_cast<std::size_t>(plan.crop));
  std::vector<std::uint8_t> rows(static_cast<std::size_t>(kChannels * plan.crop));
  for (std::int64_t c = 0; c < kChannels; ++c) {
    resize_columns(plan, crop.left, first, last, image + c * plan.side * plan.side,
                   columns.data() + c * plane);
  }
  for (std::int64_t y = 0; y < plan.crop; ++y) {
    for (std::int64_t c = 0; c < kChannels; ++c) {
      resize_row(plan, windows[y],
                 columns.data() + c * plane + (windows[y].begin - first) * plan.crop, sums.data(),
                 rows.data() + c * plan.crop);
    }
    interleave(plan, crop.flip, rows.data(), output + y * plan.crop * kChannels);
  }
}

}  // namespace

void transform_images(ThreadPool& pool, std::int64_t count, std::int64_t side, float* output,
                      const std::uint8_t* images, const ImageCrop* crops,
                      const ImageTransform& transform) {
  const Plan plan = make_plan(side, transform);
  pool.parallel_for(count, [&](std::int64_t i, int) {
    transform_image(plan, crops[i], images + i * kChannels * side * side,
                    output + i * kChannels * transform.crop * transform.crop);
  });
}

}  // namespace stagecoach::cpu
