#include "kernels/cpu/conv2d_winograd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cpu/instruction_set.h"
#include "kernels/relu.h"
#include "tests/kernels/reference_conv2d.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::filled_tensor;
using testing::random_tensor;
using testing::ReferenceSums;

constexpr float kUnwritten = std::numeric_limits<float>::quiet_NaN();

struct Case {
  std::int64_t images, channels, height, width, outputs, kernel, padding_h, padding_w;

  Conv2dOptions options() const { return {1, 1, padding_h, padding_w}; }
  TensorSpec input() const { return channels_last(images, channels, height, width); }
  TensorSpec weight() const { return channels_last(outputs, channels, kernel, kernel); }
  TensorSpec output() const { return conv2d_output(input(), weight(), options()); }
  cpu::Conv2dShape shape() const {
    return cpu::conv2d_shape(input().shape, weight().shape, output().shape, options());
  }
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.input().to_string() << " * " << c.weight().to_string() << " padding " << c.padding_h
       << "x" << c.padding_w;
}

// One convolution with random operands; its results for some of the images.
struct Problem {
  explicit Problem(const Case& of)
      : c(of),
        input(random_tensor(c.input(), 1)),
        weight(random_tensor(c.weight(), 2)),
        bias(random_tensor(row_major({c.outputs}), 3)),
        output_grad(random_tensor(c.output(), 4)) {}

  struct Images {
    std::int64_t first, count;
  };
  Images all() const { return {0, c.images}; }

  // body(pool, workspace, shape of the images)
  template <typename Body>
  void run(Images images, int threads, const Body& body) const {
    cpu::Conv2dShape shape = c.shape();
    shape.images = images.count;
    ThreadPool pool(threads);
    const OwnedTensor workspace =
        filled_tensor(row_major({cpu::winograd_workspace_bytes(shape, threads) / 4}), kUnwritten);
    body(pool, workspace.tensor.data, shape);
  }
  static const float* of_image(const Tensor& tensor, std::int64_t image) {
    return tensor.as<float>() + image * (tensor.elements() / tensor.shape()[0]);
  }
  static TensorSpec of_images(TensorSpec spec, Images images) {
    spec.shape = {images.count, spec.shape[1], spec.shape[2], spec.shape[3]};
    return spec;
  }

  OwnedTensor forward(Images images, int threads, Activation activation = Activation::kNone) const {
    OwnedTensor y = filled_tensor(of_images(c.output(), images), kUnwritten);
    run(images, threads, [&](ThreadPool& pool, void* workspace, const cpu::Conv2dShape& shape) {
      const OwnedTensor u =
          filled_tensor(row_major({cpu::winograd_forward_weight_floats(shape)}), kUnwritten);
      cpu::winograd_transform_weight_forward(pool, shape, u.tensor.as<float>(),
                                             weight.tensor.as<float>());
      cpu::winograd_forward(pool, workspace, shape, y.tensor.as<float>(),
                            of_image(input.tensor, images.first), u.tensor.as<float>(),
                            bias.tensor.as<float>(), activation);
    });
    return y;
  }
  OwnedTensor input_grad(Images images, int threads) const {
    OwnedTensor dx = filled_tensor(of_images(c.input(), images), kUnwritten);
    run(images, threads, [&](ThreadPool& pool, void* workspace, const cpu::Conv2dShape& shape) {
      const OwnedTensor u =
          filled_tensor(row_major({cpu::winograd_backward_weight_floats(shape)}), kUnwritten);
      cpu::winograd_transform_weight_backward(pool, shape, u.tensor.as<float>(),
                                              weight.tensor.as<float>());
      cpu::winograd_backward_input(pool, workspace, shape, dx.tensor.as<float>(),
                                   of_image(output_grad.tensor, images.first),
                                   u.tensor.as<float>());
    });
    return dx;
  }

  struct Gradients {
    OwnedTensor weight, bias;
  };
  // Of all images, so many in one call.
  Gradients gradients(std::int64_t micro_batch, int threads) const {
    Gradients result{filled_tensor(c.weight(), kUnwritten),
                     filled_tensor(row_major({c.outputs}), kUnwritten)};
    const OwnedTensor sums =
        filled_tensor(row_major({cpu::winograd_sums_floats(c.shape())}), kUnwritten);
    for (std::int64_t first = 0; first < c.images; first += micro_batch) {
      const Images images{first, std::min(micro_batch, c.images - first)};
      run(images, threads, [&](ThreadPool& pool, void* workspace, const cpu::Conv2dShape& shape) {
        cpu::winograd_accumulate_weight(
            pool, workspace, shape, sums.tensor.as<float>(), result.bias.tensor.as<float>(),
            of_image(output_grad.tensor, first), of_image(input.tensor, first),
            first == 0 ? GradientMode::kOverwrite : GradientMode::kAccumulate);
      });
    }
    run(all(), threads, [&](ThreadPool& pool, void*, const cpu::Conv2dShape& shape) {
      cpu::winograd_finish_weight(pool, shape, result.weight.tensor.as<float>(),
                                  sums.tensor.as<float>());
    });
    return result;
  }

  Case c;
  OwnedTensor input, weight, bias, output_grad;
};

// The roundings of a tile's elements spread over all of them, so the bound is of the largest sum of
// magnitudes. Measured are 14 where a sum has one term, at most 5 where it has a hundred.
void expect_near(const Tensor& result, const ReferenceSums& reference) {
  ASSERT_EQ(result.spec, reference.spec);
  constexpr double kRoundings = 16.0;
  const double bound =
      kRoundings * std::numeric_limits<float>::epsilon() * reference.magnitude.maxCoeff();
  for (std::int64_t i = 0; i < result.elements(); ++i) {
    ASSERT_NEAR(result.as<float>()[i], reference.value[i], bound)
        << "element " << i << " in memory order";
  }
}

class Conv2dWinogradTest : public ::testing::TestWithParam<Case> {};

TEST_P(Conv2dWinogradTest, ForwardIsTheDefinition) {
  const Problem p(GetParam());
  expect_near(p.forward(p.all(), 2).tensor,
              testing::reference_conv2d(p.c.output(), p.input.tensor, p.weight.tensor,
                                        p.bias.tensor, p.c.options()));
}

TEST_P(Conv2dWinogradTest, InputGradientIsTheDefinition) {
  const Problem p(GetParam());
  expect_near(p.input_grad(p.all(), 2).tensor,
              testing::reference_conv2d_input_grad(p.c.input(), p.output_grad.tensor,
                                                   p.weight.tensor, p.c.options()));
}

TEST_P(Conv2dWinogradTest, WeightAndBiasGradientsAreTheDefinition) {
  const Problem p(GetParam());
  const Problem::Gradients result = p.gradients(p.c.images, 2);
  expect_near(result.weight.tensor,
              testing::reference_conv2d_weight_grad(p.c.weight(), p.output_grad.tensor,
                                                    p.input.tensor, p.c.options()));
  testing::expect_sums(result.bias.tensor,
                       testing::reference_conv2d_bias_grad(p.output_grad.tensor));
}

// The bytes of all results, W of so many images a call.
std::vector<std::vector<std::uint8_t>> results(const Problem& p, int threads,
                                               std::int64_t micro_batch) {
  const Problem::Gradients gradients = p.gradients(micro_batch, threads);
  return {bytes_of(p.forward(p.all(), threads).tensor),
          bytes_of(p.input_grad(p.all(), threads).tensor), bytes_of(gradients.weight.tensor),
          bytes_of(gradients.bias.tensor)};
}

TEST_P(Conv2dWinogradTest, SameBitsForAnyNumberOfThreads) {
  const Problem p(GetParam());
  const auto one = results(p, 1, p.c.images);
  EXPECT_EQ(results(p, 2, p.c.images), one);
  EXPECT_EQ(results(p, 3, p.c.images), one);
}

TEST_P(Conv2dWinogradTest, SameBitsForAnyInstructionSet) {
  const Problem p(GetParam());
  const auto best = results(p, 2, p.c.images);
  for (const std::string& name : cpu::instruction_sets()) {
    cpu::use_instruction_set(name);
    EXPECT_EQ(results(p, 2, p.c.images), best) << name;
  }
  cpu::use_instruction_set("");
}

TEST_P(Conv2dWinogradTest, AppliesTheRelu) {
  const Problem p(GetParam());
  const OwnedTensor expected = p.forward(p.all(), 2);
  testing::run_on_context(
      1, [&](Context& context) { relu_forward(context, expected.tensor, expected.tensor); });
  for (const std::string& name : cpu::instruction_sets()) {
    cpu::use_instruction_set(name);
    const OwnedTensor result = p.forward(p.all(), 2, Activation::kRelu);
    EXPECT_EQ(bytes_of(result.tensor), bytes_of(expected.tensor)) << name;
  }
  cpu::use_instruction_set("");
}

TEST_P(Conv2dWinogradTest, SumsOfABatchDoNotDependOnItsMicroBatches) {
  const Problem p(GetParam());
  const auto whole = results(p, 2, p.c.images);
  for (std::int64_t images = 1; images < p.c.images; ++images) {
    EXPECT_EQ(results(p, 2, images), whole) << images << " images a call";
  }
}

TEST_P(Conv2dWinogradTest, AnImageAloneHasTheSameBits) {
  const Problem p(GetParam());
  const OwnedTensor y = p.forward(p.all(), 2), dx = p.input_grad(p.all(), 2);
  const auto image_of = [](const OwnedTensor& batch, const OwnedTensor& alone, std::int64_t image) {
    const auto all = bytes_of(batch.tensor);
    const auto first = all.begin() + image * alone.tensor.bytes();
    return std::vector<std::uint8_t>(first, first + alone.tensor.bytes());
  };
  for (std::int64_t image = 0; image < p.c.images; ++image) {
    const OwnedTensor y1 = p.forward({image, 1}, 2), dx1 = p.input_grad({image, 1}, 2);
    EXPECT_EQ(bytes_of(y1.tensor), image_of(y, y1, image)) << "F of image " << image;
    EXPECT_EQ(bytes_of(dx1.tensor), image_of(dx, dx1, image)) << "B of image " << image;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, Conv2dWinogradTest,
    ::testing::Values(Case{1, 1, 3, 3, 1, 3, 0, 0},        // one output
                      Case{1, 1, 1, 1, 1, 3, 1, 1},        // one pixel
                      Case{1, 3, 5, 5, 17, 5, 0, 0},       // one output, 5x5
                      Case{1, 1, 2, 1, 3, 5, 2, 2},        // kernel larger than the input
                      Case{2, 17, 8, 8, 3, 3, 1, 1},       // whole tiles
                      Case{3, 17, 7, 10, 17, 3, 0, 2},     // paddings unequal
                      Case{2, 16, 13, 13, 32, 3, 1, 1},    // whole vectors
                      Case{3, 3, 9, 6, 17, 5, 1, 4},       // the largest padding
                      Case{2, 17, 11, 12, 3, 5, 2, 2},     // parts of tiles, 5x5
                      Case{2, 400, 5, 4, 6, 3, 1, 1},      // long sums
                      Case{3, 1, 20, 21, 200, 5, 2, 2}));  // several blocks, cut in an image

TEST(Conv2dWinograd, FitsStrideOneAndTwoKernels) {
  const cpu::Conv2dShape shape = Case{1, 3, 8, 8, 4, 3, 1, 1}.shape();
  const auto fits = [&](const auto& change) {
    cpu::Conv2dShape changed = shape;
    change(changed);
    return cpu::winograd_fits(changed);
  };
  EXPECT_TRUE(cpu::winograd_fits(shape));
  EXPECT_TRUE(fits([](auto& s) { s.kernel_h = s.kernel_w = 5; }));
  EXPECT_TRUE(fits([](auto& s) { s.options.padding_h = 2; }));
  EXPECT_FALSE(fits([](auto& s) { s.options.padding_w = 3; }));
  EXPECT_FALSE(fits([](auto& s) { s.options.stride_h = 2; }));
  EXPECT_FALSE(fits([](auto& s) { s.kernel_w = 5; }));
  EXPECT_FALSE(fits([](auto& s) { s.kernel_h = s.kernel_w = 1; }));
  EXPECT_FALSE(fits([](auto& s) { s.kernel_h = s.kernel_w = 7; }));
}

}  // namespace
}  // namespace stagecoach
