// The convolutions without Winograd's transforms: bit for bit the sums that the house promises,
// written as loops over std::fma, with each instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cpu/conv2d.h"
#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using Floats = std::vector<float>;
using testing::for_each_instruction_set;

constexpr float kUnwritten = std::numeric_limits<float>::quiet_NaN();

struct Case {
  std::int64_t images, channels, height, width, outputs, kernel_h, kernel_w;
  Conv2dOptions options;

  cpu::Conv2dShape shape() const {
    const TensorSpec input = channels_last(images, channels, height, width);
    const TensorSpec weight = channels_last(outputs, channels, kernel_h, kernel_w);
    const Shape output = conv2d_output(input, weight, options).shape;
    return cpu::conv2d_shape(input.shape, weight.shape, output, options);
  }
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.images << " x " << c.channels << " x " << c.height << " x " << c.width << " * "
       << c.outputs << " of " << c.kernel_h << " x " << c.kernel_w << ", stride "
       << c.options.stride_h << " x " << c.options.stride_w << ", padding " << c.options.padding_h
       << " x " << c.options.padding_w;
}

Floats random_floats(std::int64_t count, std::uint64_t seed) {
  const OwnedTensor values = testing::random_tensor(row_major({count}), seed);
  const float* data = values.tensor.as<float>();
  return {data, data + count};
}

// One convolution with random operands.
struct Problem {
  explicit Problem(const Case& c)
      : s(c.shape()),
        input(random_floats(s.images * s.in_elements(), 1)),
        weight(random_floats(s.outputs * s.taps(), 2)),
        bias(random_floats(s.outputs, 3)),
        output_grad(random_floats(s.rows() * s.outputs, 4)) {}

  // What tap (ky, kx, channel) of an output pixel reads, or null: the padding.
  const float* at(std::int64_t image, std::int64_t oy, std::int64_t ox, std::int64_t tap) const {
    const std::int64_t y = oy * s.options.stride_h - s.options.padding_h + tap / run();
    const std::int64_t x = ox * s.options.stride_w - s.options.padding_w + tap % run() / s.channels;
    if (y < 0 || y >= s.in_h || x < 0 || x >= s.in_w) return nullptr;
    return &input[((image * s.in_h + y) * s.in_w + x) * s.channels + tap % s.channels];
  }
  std::int64_t run() const { return s.kernel_w * s.channels; }
  float value(std::int64_t image, std::int64_t pixel, std::int64_t tap) const {
    const float* from = at(image, pixel / s.out_w, pixel % s.out_w, tap);
    return from == nullptr ? 0.0f : *from;
  }

  Floats output(Activation activation) const {
    Floats result;
    for (std::int64_t row = 0; row < s.rows(); ++row) {
      for (std::int64_t o = 0; o < s.outputs; ++o) {
        float sum = bias[o];
        for (std::int64_t t = 0; t < s.taps(); ++t) {
          sum =
              std::fma(value(row / s.pixels(), row % s.pixels(), t), weight[o * s.taps() + t], sum);
        }
        result.push_back(activation == Activation::kRelu && sum <= 0.0f ? 0.0f : sum);
      }
    }
    return result;
  }

  // A chain over the outputs for each pixel that reads an input, added in the pixels' order.
  Floats input_grad() const {
    Floats result(input.size(), 0.0f);
    for (std::int64_t row = 0; row < s.rows(); ++row) {
      for (std::int64_t t = 0; t < s.taps(); ++t) {
        const std::int64_t pixel = row % s.pixels();
        const float* from = at(row / s.pixels(), pixel / s.out_w, pixel % s.out_w, t);
        if (from == nullptr) continue;
        float sum = 0.0f;
        for (std::int64_t o = 0; o < s.outputs; ++o) {
          sum = std::fma(output_grad[row * s.outputs + o], weight[o * s.taps() + t], sum);
        }
        result[static_cast<std::size_t>(from - input.data())] += sum;
      }
    }
    return result;
  }

  // A chain over an image's pixels; images are added in their order.
  Floats weight_grad() const {
    Floats result(weight.size(), 0.0f);
    for (std::int64_t i = 0; i < s.images; ++i) {
      for (std::int64_t e = 0; e < s.outputs * s.taps(); ++e) {
        float sum = 0.0f;
        for (std::int64_t p = 0; p < s.pixels(); ++p) {
          sum = std::fma(output_grad[(i * s.pixels() + p) * s.outputs + e / s.taps()],
                         value(i, p, e % s.taps()), sum);
        }
        result[e] = i == 0 ? sum : result[e] + sum;
      }
    }
    return result;
  }
  Floats bias_grad() const {
    Floats result(bias.size(), 0.0f);
    for (std::int64_t i = 0; i < s.images; ++i) {
      for (std::int64_t o = 0; o < s.outputs; ++o) {
        float sum = 0.0f;
        for (std::int64_t p = 0; p < s.pixels(); ++p) {
          sum += output_grad[(i * s.pixels() + p) * s.outputs + o];
        }
        result[o] = i == 0 ? sum : result[o] + sum;
      }
    }
    return result;
  }

  cpu::Conv2dShape s;
  Floats input, weight, bias, output_grad;
};

void expect_same_bits(const Floats& result, const Floats& expected, const std::string& what) {
  ASSERT_EQ(result.size(), expected.size());
  for (std::size_t i = 0; i < result.size(); ++i) {
    ASSERT_EQ(std::memcmp(&result[i], &expected[i], sizeof(float)), 0)
        << what << ", element " << i << ": " << result[i] << ", expected " << expected[i];
  }
}

template <typename Algorithm>
Floats form_of(const Algorithm& algorithm, ThreadPool& pool, const Problem& p) {
  Floats form(static_cast<std::size_t>(algorithm.form_floats(p.s)), kUnwritten);
  algorithm.make_form(pool, p.s, form.data(), p.weight.data());
  return form;
}

template <typename Algorithm>
Floats workspace_of(const Algorithm& algorithm, const cpu::Conv2dShape& shape, int threads) {
  const std::int64_t bytes = algorithm.workspace_bytes(shape, threads);
  return Floats(static_cast<std::size_t>(bytes) / sizeof(float), kUnwritten);
}

class Conv2dChainTest : public ::testing::TestWithParam<Case> {};

TEST_P(Conv2dChainTest, Forward) {
  const Problem p(GetParam());
  for (const Activation activation : {Activation::kNone, Activation::kRelu}) {
    const Floats expected = p.output(activation);
    for_each_instruction_set([&](const std::string& set) {
      for (const cpu::Conv2dForward& algorithm : cpu::conv2d_table().forward) {
        if (!algorithm.fits(p.s, Convolution::kDirect)) continue;
        ThreadPool pool(2);
        Floats result(expected.size(), kUnwritten), workspace = workspace_of(algorithm, p.s, 2);
        algorithm.run(pool, workspace.data(), p.s, result.data(), p.input.data(),
                      form_of(algorithm, pool, p).data(), p.bias.data(), activation);
        expect_same_bits(result, expected, set + " " + algorithm.name);
      }
    });
  }
}

TEST_P(Conv2dChainTest, BackwardInput) {
  const Problem p(GetParam());
  const Floats expected = p.input_grad();
  for_each_instruction_set([&](const std::string& set) {
    for (const cpu::Conv2dBackwardInput& algorithm : cpu::conv2d_table().backward_input) {
      if (!algorithm.fits(p.s, Convolution::kDirect)) continue;
      ThreadPool pool(2);
      Floats result(expected.size(), kUnwritten), workspace = workspace_of(algorithm, p.s, 2);
      algorithm.run(pool, workspace.data(), p.s, result.data(), p.output_grad.data(),
                    form_of(algorithm, pool, p).data());
      expect_same_bits(result, expected, set + " " + algorithm.name);
    }
  });
}

// The batch in calls of two images leaves no trace.
TEST_P(Conv2dChainTest, BackwardWeight) {
  const Problem p(GetParam());
  const Floats weight = p.weight_grad(), bias = p.bias_grad();
  for_each_instruction_set([&](const std::string& set) {
    for (const cpu::Conv2dBackwardWeight& algorithm : cpu::conv2d_table().backward_weight) {
      if (!algorithm.fits(p.s, Convolution::kDirect)) continue;
      for (const std::int64_t images : {p.s.images, std::int64_t{2}}) {
        ThreadPool pool(2);
        Floats weight_grad(weight.size(), kUnwritten), bias_grad(bias.size(), kUnwritten);
        for (std::int64_t first = 0; first < p.s.images; first += images) {
          cpu::Conv2dShape part = p.s;
          part.images = std::min(images, p.s.images - first);
          Floats workspace = workspace_of(algorithm, part, 2);
          algorithm.run(pool, workspace.data(), part, weight_grad.data(), bias_grad.data(),
                        &p.output_grad[first * p.s.pixels() * p.s.outputs],
                        &p.input[first * p.s.in_elements()],
                        first == 0 ? GradientMode::kOverwrite : GradientMode::kAccumulate);
        }
        expect_same_bits(weight_grad, weight, set + " " + algorithm.name);
        expect_same_bits(bias_grad, bias, set + " " + algorithm.name + ", bias");
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, Conv2dChainTest,
    ::testing::Values(
        Case{1, 1, 1, 1, 16, 1, 1, {}},                // one of everything
        Case{3, 3, 47, 43, 64, 11, 11, {4, 4, 2, 2}},  // AlexNet's first, two bands
        Case{2, 3, 19, 20, 64, 3, 3, {1, 1, 1, 1}},    // VGG's first
        Case{3, 1, 28, 27, 48, 5, 5, {1, 1, 0, 0}},    // gray images
        Case{2, 4, 12, 17, 32, 5, 3, {4, 2, 2, 0}},    // every pair unequal
        Case{2, 2, 13, 12, 16, 2, 2, {3, 3, 0, 0}},    // windows with gaps, input left over
        Case{2, 2, 3, 3, 16, 5, 5, {1, 1, 2, 2}},      // kernel larger than the input
        Case{1, 1, 4, 4, 16, 2, 2, {4, 4, 2, 2}},      // windows wholly in the padding
        Case{3, 15, 9, 8, 16, 3, 2, {2, 1, 1, 1}},     // as many channels as are few
        Case{3, 5, 7, 7, 6, 3, 3, {1, 1, 1, 1}},       // outputs that fill no vector
        Case{2, 17, 8, 9, 20, 3, 3, {1, 2, 1, 0}}));   // many channels

}  // namespace
}  // namespace stagecoach
