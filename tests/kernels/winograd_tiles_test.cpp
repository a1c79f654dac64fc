// The transforms of a tile are, bit for bit, the sums that winograd_transforms-inl.h writes, in
// every instruction set.
#include "kernels/cpu/winograd_tiles.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cpu/instruction_set.h"
#include "tests/kernels/tensors.h"

namespace stagecoach::cpu::winograd {
namespace {

using Line = std::vector<float>;
using Transform = std::function<Line(const Line&)>;

Line input_transform(const Line& d) {
  constexpr auto a = static_cast<float>(kA), b = static_cast<float>(kB);
  constexpr float a2 = a * a, b2 = b * b;
  const float even_a = std::fma(-b2, d[2], d[4]), odd_a = std::fma(-b2, d[1], d[3]);
  const float even_b = std::fma(-a2, d[2], d[4]), odd_b = std::fma(-a2, d[1], d[3]);
  return {std::fma(a2 * b2, d[0], std::fma(-(a2 + b2), d[2], d[4])),
          std::fma(a, odd_a, even_a),
          std::fma(-a, odd_a, even_a),
          std::fma(b, odd_b, even_b),
          std::fma(-b, odd_b, even_b),
          std::fma(a2 * b2, d[1], std::fma(-(a2 + b2), d[3], d[5]))};
}

template <std::size_t kCount, bool kDivided>
Line evaluate(const Line& g) {
  const Powers<kCount, kDivided> powers;
  const auto half = [&](const std::array<float, kCount>& factors, std::size_t first) {
    float total = factors[first] * g[first];
    for (std::size_t k = first + 2; k < kCount; k += 2) total = std::fma(factors[k], g[k], total);
    return total;
  };
  const float even_a = half(powers.a, 0), odd_a = half(powers.a, 1);
  const float even_b = half(powers.b, 0), odd_b = half(powers.b, 1);
  return {powers.zero * g[0], even_a + odd_a, even_a - odd_a,
          even_b + odd_b,     even_b - odd_b, g[kCount - 1]};
}

template <std::size_t kCount, bool kDivided>
Line interpolate(const Line& m) {
  const Powers<kCount, kDivided> powers;
  Line y;
  for (std::size_t k = 0; k < kCount; ++k) {
    const float of_a = k % 2 == 0 ? m[1] + m[2] : m[1] - m[2];
    const float of_b = k % 2 == 0 ? m[3] + m[4] : m[3] - m[4];
    y.push_back(std::fma(powers.b[k], of_b, powers.a[k] * of_a));
  }
  y.front() = std::fma(powers.zero, m[0], y.front());
  y.back() += m[5];
  return y;
}

// A square, by rows: the columns are transformed first.
Line tile(const Transform& transform, std::size_t in, std::size_t out, const Line& values) {
  Line columns(out * in), result;
  for (std::size_t x = 0; x < in; ++x) {
    Line column;
    for (std::size_t y = 0; y < in; ++y) column.push_back(values[y * in + x]);
    column = transform(column);
    for (std::size_t y = 0; y < out; ++y) columns[y * in + x] = column[y];
  }
  for (std::size_t y = 0; y < out; ++y) {
    const auto row = columns.begin() + static_cast<std::ptrdiff_t>(y * in);
    const Line line = transform(Line(row, row + static_cast<std::ptrdiff_t>(in)));
    result.insert(result.end(), line.begin(), line.end());
  }
  return result;
}

// Whole vectors of each instruction set, a part of four, and single channels.
constexpr std::int64_t kChannels = 16 + 8 + 4 + 3;

OwnedTensor random_values(std::int64_t elements) {
  return testing::random_tensor(row_major({elements}), 1);
}

// Channel `channel` of [pixels, kChannels].
Line channel_of(const float* data, std::size_t pixels, std::int64_t channel, std::int64_t stride) {
  Line result(pixels);
  for (std::size_t i = 0; i < pixels; ++i) {
    result[i] = data[static_cast<std::int64_t>(i) * stride + channel];
  }
  return result;
}

// run(to, from) does the transform for kChannels channels: `from` has in * in elements for each,
// `from_stride` apart, `to` out * out.
void expect_transform(const Transform& transform, std::size_t in, std::size_t out,
                      const std::function<void(float* to, const float* from)>& run) {
  const auto from = random_values(static_cast<std::int64_t>(in * in) * kChannels);
  for (const std::string& name : instruction_sets()) {
    use_instruction_set(name);
    Line to(out * out * kChannels);
    run(to.data(), from.tensor.as<float>());
    for (std::int64_t c = 0; c < kChannels; ++c) {
      EXPECT_EQ(
          channel_of(to.data(), out * out, c, kChannels),
          tile(transform, in, out, channel_of(from.tensor.as<float>(), in * in, c, kChannels)))
          << name << ", channel " << c;
    }
  }
  use_instruction_set("");
}

// One tile without padding.
Tiling one_tile(std::int64_t kernel) {
  const std::int64_t out = kSide + 1 - kernel;
  return {1, kSide, kSide, kChannels, out, out, kChannels, kernel, 0, 0};
}

const Line kZeros(kChannels, 0.0f);

TEST(WinogradTiles, InputAtThePoints) {
  for (const std::int64_t kernel : {3, 5}) {
    expect_transform(input_transform, 6, 6, [&](float* to, const float* from) {
      transform_input_row(one_tile(kernel), 0, {to, kChannels}, from, kZeros.data());
    });
  }
}

TEST(WinogradTiles, OutputFromThePoints) {
  const auto run = [](std::int64_t kernel) {
    return [=](float* to, const float* from) {
      transform_output_row(one_tile(kernel), 0, to, {from, kChannels}, kZeros.data(),
                           Activation::kNone);
    };
  };
  expect_transform(interpolate<4, false>, 6, 4, run(3));
  expect_transform(interpolate<2, false>, 6, 2, run(5));
}

TEST(WinogradTiles, OutputGradientAtThePoints) {
  const auto run = [](std::int64_t kernel) {
    return [=](float* to, const float* from) {
      transform_output_grad_row(one_tile(kernel), 0, {to, kChannels}, from, kZeros.data());
    };
  };
  expect_transform(evaluate<4, false>, 4, 6, run(3));
  expect_transform(evaluate<2, false>, 2, 6, run(5));
}

TEST(WinogradTiles, WeightsAtThePoints) {
  const auto run = [](std::int64_t kernel) {
    return [=](float* to, const float* from) {
      const WeightView view{from, 0, 1, kChannels};
      transform_weight_block(kernel, view, {0, 1}, {0, kChannels}, packed_layout(1, kChannels),
                             {to, kChannels});
    };
  };
  expect_transform(evaluate<3, true>, 3, 6, run(3));
  expect_transform(evaluate<5, true>, 5, 6, run(5));
}

TEST(WinogradTiles, WeightGradientFromThePoints) {
  const auto run = [](std::int64_t kernel) {
    return [=](float* to, const float* from) {
      finish_weight_rows(kernel, kChannels, {0, 1}, to, {from, kChannels});
    };
  };
  expect_transform(interpolate<3, true>, 6, 3, run(3));
  expect_transform(interpolate<5, true>, 6, 5, run(5));
}

// The same values, wherever the columns lie.
TEST(WinogradTiles, WeightsAreGatheredWhereColumnsLieApart) {
  const OwnedTensor weight = random_values(9 * kChannels);
  Line apart(9 * kChannels);
  for (std::int64_t i = 0; i < 9 * kChannels; ++i) {
    apart[static_cast<std::size_t>(i % kChannels * 9 + i / kChannels)] =
        weight.tensor.as<float>()[i];
  }
  for (const std::string& name : instruction_sets()) {
    use_instruction_set(name);
    Line a(kPoints * kChannels), b(kPoints * kChannels);
    const PackedLayout layout = packed_layout(1, kChannels);  // of a row: as it is
    transform_weight_block(3, {weight.tensor.as<float>(), 0, 1, kChannels}, {0, 1}, {0, kChannels},
                           layout, {a.data(), kChannels});
    transform_weight_block(3, {apart.data(), 0, 9, 1}, {0, 1}, {0, kChannels}, layout,
                           {b.data(), kChannels});
    EXPECT_EQ(a, b) << name;
  }
  use_instruction_set("");
}

TEST(WinogradTiles, StridesAreOddNumbersOfCacheLines) {
  for (const std::int64_t elements : {1, 16, 17, 32, 512, 98304}) {
    const std::int64_t stride = point_stride(elements);
    EXPECT_GE(stride, elements);
    EXPECT_LT(stride, elements + 32);
    EXPECT_EQ(stride % 32, 16);
  }
}

}  // namespace
}  // namespace stagecoach::cpu::winograd
