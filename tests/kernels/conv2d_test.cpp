#include "kernels/conv2d.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "kernels/cpu/conv2d.h"
#include "tests/kernels/reference_conv2d.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::copy_of;
using testing::expect_sums;
using testing::filled_tensor;
using testing::random_tensor;
using testing::run_on_context;

struct Case {
  std::int64_t images, channels, height, width, outputs, kernel_h, kernel_w;
  Conv2dOptions options;

  TensorSpec input() const { return channels_last(images, channels, height, width); }
  TensorSpec weight() const { return channels_last(outputs, channels, kernel_h, kernel_w); }
  TensorSpec output() const { return conv2d_output(input(), weight(), options); }
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.input().to_string() << " * " << c.weight().to_string() << " stride "
       << c.options.stride_h << "x" << c.options.stride_w << " padding " << c.options.padding_h
       << "x" << c.options.padding_w;
}

// Tensors of one convolution with random operands.
struct Problem {
  explicit Problem(const Case& c)
      : options(c.options),
        output_spec(c.output()),
        input(random_tensor(c.input(), 1)),
        weight(random_tensor(c.weight(), 2)),
        bias(random_tensor(row_major({c.outputs}), 3)),
        output_grad(random_tensor(output_spec, 4)) {}

  template <typename Body>
  void run(int threads, const Body& body) const {
    Target target(threads);
    target.convolution = Convolution::kDirect;  // Winograd's rounding: conv2d_winograd_test.cpp
    run_on_context(target,
                   conv2d_workspace_bytes(input.tensor.spec, weight.tensor.spec, options, target),
                   body);
  }
  OwnedTensor forward(int threads, const Tensor& x, const Tensor& w, const Tensor& b) const {
    OwnedTensor y = filled_tensor(output_spec, 77.0f);
    run(threads, [&](Context& context) { conv2d_forward(context, y.tensor, x, w, b, options); });
    return y;
  }
  OwnedTensor forward(int threads = 2) const {
    return forward(threads, input.tensor, weight.tensor, bias.tensor);
  }
  OwnedTensor input_grad(int threads = 2) const {
    OwnedTensor dx = filled_tensor(input.tensor.spec, 77.0f);
    run(threads, [&](Context& context) {
      conv2d_backward_input(context, dx.tensor, output_grad.tensor, weight.tensor, options);
    });
    return dx;
  }
  struct Gradients {
    OwnedTensor weight, bias;
  };
  void add_gradients(int threads, const Gradients& to, GradientMode mode) const {
    run(threads, [&](Context& context) {
      conv2d_backward_weight(context, to.weight.tensor, to.bias.tensor, output_grad.tensor,
                             input.tensor, options, mode);
    });
  }
  Gradients gradients(int threads = 2) const {
    Gradients result{filled_tensor(weight.tensor.spec, 77.0f),
                     filled_tensor(bias.tensor.spec, 77.0f)};
    add_gradients(threads, result, GradientMode::kOverwrite);
    return result;
  }

  Conv2dOptions options;
  TensorSpec output_spec;
  OwnedTensor input, weight, bias, output_grad;
};

class Conv2dTest : public ::testing::TestWithParam<Case> {};

TEST_P(Conv2dTest, ForwardIsTheDefinition) {
  const Problem p(GetParam());
  expect_sums(p.forward().tensor,
              testing::reference_conv2d(p.output_spec, p.input.tensor, p.weight.tensor,
                                        p.bias.tensor, p.options));
}

TEST_P(Conv2dTest, InputGradientIsTheDefinition) {
  const Problem p(GetParam());
  expect_sums(p.input_grad().tensor,
              testing::reference_conv2d_input_grad(p.input.tensor.spec, p.output_grad.tensor,
                                                   p.weight.tensor, p.options));
}

TEST_P(Conv2dTest, WeightAndBiasGradientsAreTheDefinition) {
  const Problem p(GetParam());
  const Problem::Gradients result = p.gradients();
  expect_sums(result.weight.tensor,
              testing::reference_conv2d_weight_grad(p.weight.tensor.spec, p.output_grad.tensor,
                                                    p.input.tensor, p.options));
  expect_sums(result.bias.tensor, testing::reference_conv2d_bias_grad(p.output_grad.tensor));
}

TEST_P(Conv2dTest, SameBitsForAnyNumberOfThreads) {
  const Problem p(GetParam());
  const auto forward = bytes_of(p.forward(1).tensor);
  const auto input_grad = bytes_of(p.input_grad(1).tensor);
  const Problem::Gradients gradients = p.gradients(1);
  for (int threads = 2; threads <= 4; ++threads) {
    EXPECT_EQ(bytes_of(p.forward(threads).tensor), forward) << threads << " threads";
    EXPECT_EQ(bytes_of(p.input_grad(threads).tensor), input_grad) << threads << " threads";
    const Problem::Gradients other = p.gradients(threads);
    EXPECT_EQ(bytes_of(other.weight.tensor), bytes_of(gradients.weight.tensor)) << threads;
    EXPECT_EQ(bytes_of(other.bias.tensor), bytes_of(gradients.bias.tensor)) << threads;
  }
}

TEST_P(Conv2dTest, AccumulatingTwiceIsTwiceTheGradient) {
  const Problem p(GetParam());
  const Problem::Gradients once = p.gradients();
  const Problem::Gradients twice{copy_of(once.weight.tensor), copy_of(once.bias.tensor)};
  p.add_gradients(2, twice, GradientMode::kAccumulate);
  testing::ReferenceSums weight = testing::reference_conv2d_weight_grad(
      p.weight.tensor.spec, p.output_grad.tensor, p.input.tensor, p.options);
  testing::ReferenceSums bias = testing::reference_conv2d_bias_grad(p.output_grad.tensor);
  for (testing::ReferenceSums* sums : {&weight, &bias}) {
    sums->value *= 2.0;
    sums->magnitude *= 2.0;
    sums->terms *= 2.0;
  }
  expect_sums(twice.weight.tensor, weight);
  expect_sums(twice.bias.tensor, bias);
}

double dot(const Tensor& a, const Tensor& b) {
  using Vector = Eigen::Map<const Eigen::VectorXf>;
  return Vector(a.as<float>(), a.elements())
      .cast<double>()
      .dot(Vector(b.as<float>(), b.elements()).cast<double>());
}

// a + scale * b
OwnedTensor moved(const Tensor& a, const Tensor& b, float scale) {
  OwnedTensor result = copy_of(a);
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    result.tensor.as<float>()[i] += scale * b.as<float>()[i];
  }
  return result;
}

// Roundings of the two sides are independent and far below this part of their magnitude.
double rounding(const Tensor& a, const Tensor& b) {
  const double size = std::sqrt(dot(a, a) * dot(b, b));
  return 1e-5 * size;
}

// Convolution is linear in each operand, so central differences have no error but rounding, for
// any step.
TEST_P(Conv2dTest, GradientsAreDirectionalDerivatives) {
  const Problem p(GetParam());
  const OwnedTensor v = random_tensor(p.input.tensor.spec, 5);
  const OwnedTensor u = random_tensor(p.weight.tensor.spec, 6);
  const OwnedTensor t = random_tensor(p.bias.tensor.spec, 7);
  const auto derivative = [&](bool of_input) {
    double sum = 0.0;
    for (const float step : {1.0f, -1.0f}) {
      const OwnedTensor x = moved(p.input.tensor, v.tensor, of_input ? step : 0.0f);
      const OwnedTensor w = moved(p.weight.tensor, u.tensor, of_input ? 0.0f : step);
      const OwnedTensor b = moved(p.bias.tensor, t.tensor, of_input ? 0.0f : step);
      const OwnedTensor y = p.forward(2, x.tensor, w.tensor, b.tensor);
      sum += step * dot(y.tensor, p.output_grad.tensor);
    }
    return sum / 2.0;
  };
  const double bound = rounding(p.forward().tensor, p.output_grad.tensor);
  EXPECT_NEAR(derivative(true), dot(p.input_grad().tensor, v.tensor), bound);
  const Problem::Gradients gradients = p.gradients();
  EXPECT_NEAR(derivative(false),
              dot(gradients.weight.tensor, u.tensor) + dot(gradients.bias.tensor, t.tensor), bound);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, Conv2dTest,
    ::testing::Values(
        Case{1, 1, 1, 1, 1, 1, 1, {}},                 // one of everything
        Case{3, 7, 5, 6, 5, 1, 1, {}},                 // 1x1
        Case{2, 3, 9, 8, 4, 1, 1, {2, 2, 0, 0}},       // 1x1 with stride
        Case{1, 3, 7, 9, 5, 2, 2, {1, 1, 1, 1}},       // even kernel
        Case{8, 1, 6, 6, 7, 2, 3, {2, 1, 0, 1}},       // every pair unequal
        Case{3, 7, 13, 11, 64, 3, 3, {1, 1, 1, 1}},    // blocks across images
        Case{8, 64, 13, 13, 7, 3, 3, {1, 1, 1, 1}},    // several blocks of rows
        Case{1, 3, 31, 27, 20, 11, 11, {4, 4, 2, 2}},  // AlexNet's first
        Case{3, 7, 27, 27, 9, 5, 5, {1, 1, 2, 2}},     // several blocks of an image
        Case{2, 3, 12, 17, 6, 5, 3, {4, 2, 2, 0}},     // windows with gaps
        Case{2, 2, 3, 3, 3, 5, 5, {1, 1, 2, 2}},       // kernel larger than the input
        Case{1, 1, 4, 4, 2, 2, 2, {4, 4, 2, 2}},       // windows wholly in the padding
        Case{2, 3, 30, 31, 6, 3, 3, {1, 1, 1, 1}},     // W by parts of the pixels
        Case{17, 5, 7, 7, 6, 3, 3, {1, 1, 1, 1}},      // several images in a task of B
        Case{1, 70, 6, 5, 130, 3, 3, {1, 1, 0, 0}}));  // several slices of taps and bias

TEST(Conv2dShapeTest, OutputIsThatOfPyTorch) {
  const TensorSpec weight = channels_last(64, 3, 11, 11);
  EXPECT_EQ(conv2d_output(channels_last(8, 3, 224, 224), weight, {4, 4, 2, 2}),
            channels_last(8, 64, 55, 55));
}

TEST(Conv2dShapeTest, WorkspaceGrowsWithThreads) {
  const TensorSpec input = channels_last(2, 3, 20, 20);
  const TensorSpec weight = channels_last(8, 3, 3, 3);
  const auto bytes = [&](int threads) {
    return conv2d_workspace_bytes(input, weight, {}, threads);
  };
  EXPECT_GT(bytes(1), 0);
  EXPECT_GT(bytes(2), bytes(1));
  EXPECT_EQ(bytes(3) - bytes(2), bytes(2) - bytes(1));
}

// The message of the error that body() throws.
template <typename Body>
std::string message_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

TEST(Conv2dErrorTest, NamesWhatIsWrong) {
  const TensorSpec x = channels_last(2, 3, 8, 8);
  const TensorSpec w = channels_last(4, 3, 3, 3);
  const auto message = [](const TensorSpec& input, const TensorSpec& weight,
                          const Conv2dOptions& options) {
    return message_of([&] { conv2d_output(input, weight, options); });
  };
  EXPECT_EQ(message(x, w, {0, 1, 0, 0}), "conv2d: expected strides >= 1, got stride 0 x 1");
  EXPECT_EQ(message(x, w, {1, 1, 0, -1}), "conv2d: expected paddings >= 0, got padding 0 x -1");
  EXPECT_EQ(message(x, channels_last(4, 5, 3, 3), {}),
            "conv2d: expected weight with 3 input channels, got F32 [4, 5, 3, 3] channels_last");
  EXPECT_EQ(message(x, channels_last(4, 3, 11, 3), {1, 1, 1, 1}),
            "conv2d: expected kernel of at most the padded input, 10 x 10, got kernel 11 x 3");
  EXPECT_EQ(message(channels_last(2, 3, 8, 8, DType::kBF16), w, {}),
            "conv2d: expected input and weight of one dtype, got BF16 [2, 3, 8, 8] channels_last "
            "and F32 [4, 3, 3, 3] channels_last");
  EXPECT_EQ(message(x, row_major({4, 3, 3, 3}), {}),
            "conv2d: expected weight F32 or BF16 channels_last of rank 4, not empty, got "
            "F32 [4, 3, 3, 3]");
  EXPECT_EQ(
      message(row_major({2, 3}), w, {}),
      "conv2d: expected input F32 or BF16 channels_last of rank 4, not empty, got F32 [2, 3]");
  EXPECT_EQ(message(channels_last(0, 3, 8, 8), w, {}),
            "conv2d: expected input F32 or BF16 channels_last of rank 4, not empty, got "
            "F32 [0, 3, 8, 8] channels_last");
}

// The choice is of the shape alone, and the workspace suffices for each direction.
TEST(Conv2dChoice, IsMadeForEachDirection) {
  const Shape input{2, 3, 8, 8}, weight{4, 3, 3, 3}, output{2, 4, 6, 6};
  const cpu::Conv2dShape shape = cpu::conv2d_shape(input, weight, output, {});
  EXPECT_EQ(cpu::describe_conv2d(shape, Convolution::kAuto), "F im2col, B im2col, W im2col");
  const std::int64_t bytes = cpu::conv2d_workspace_bytes(shape, Convolution::kAuto, 3);
  const auto& forward = cpu::choose_conv2d_forward(shape, Convolution::kAuto);
  const auto& backward = cpu::choose_conv2d_backward_input(shape, Convolution::kAuto);
  const auto& weights = cpu::choose_conv2d_backward_weight(shape, Convolution::kAuto, true);
  EXPECT_EQ(bytes, std::max({4 * forward.form_floats(shape) + forward.workspace_bytes(shape, 3),
                             4 * backward.form_floats(shape) + backward.workspace_bytes(shape, 3),
                             weights.workspace_bytes(shape, 3)}));
  EXPECT_TRUE(cpu::conv2d_table().forward.back().fits(shape, Convolution::kDirect));
  EXPECT_TRUE(cpu::conv2d_table().backward_input.back().fits(shape, Convolution::kDirect));
  EXPECT_TRUE(cpu::conv2d_table().backward_weight.back().fits(shape, Convolution::kDirect));
}

TEST(Conv2dChoice, TakesWinogradWhereItSavesTimeOrIsAskedFor) {
  const auto chosen = [](const Shape& weight, Convolution wanted, std::int64_t stride = 1) {
    const Conv2dOptions options{stride, stride, 1, 1};
    const TensorSpec input = channels_last(1, weight[1], 13, 13);
    const TensorSpec spec = channels_last(weight[0], weight[1], weight[2], weight[3]);
    const Shape output = conv2d_output(input, spec, options).shape;
    return cpu::describe_conv2d(cpu::conv2d_shape(input.shape, weight, output, options), wanted);
  };
  const std::string winograd = "F winograd, B winograd, W winograd";
  const std::string im2col = "F im2col, B im2col, W im2col";
  const std::string direct = "F direct, B im2col, W direct";
  EXPECT_EQ(chosen({32, 16, 3, 3}, Convolution::kAuto), winograd);
  EXPECT_EQ(chosen({32, 16, 5, 5}, Convolution::kAuto), winograd);
  EXPECT_EQ(chosen({32, 16, 3, 3}, Convolution::kDirect), im2col);
  EXPECT_EQ(chosen({4, 3, 3, 3}, Convolution::kAuto), im2col);
  EXPECT_EQ(chosen({64, 3, 11, 11}, Convolution::kAuto, 4), direct);
  EXPECT_EQ(chosen({64, 3, 3, 3}, Convolution::kDirect), direct);
  EXPECT_EQ(chosen({1024, 15, 5, 5}, Convolution::kDirect), "F direct, B im2col, W im2col");
  EXPECT_EQ(chosen({4, 3, 3, 3}, Convolution::kWinograd), winograd);
  EXPECT_EQ(chosen({32, 16, 3, 3}, Convolution::kWinograd, 2), im2col);
  EXPECT_EQ(chosen({32, 16, 1, 1}, Convolution::kWinograd), im2col);
}

TEST(Conv2dErrorTest, EveryOperationChecksItsTensors) {
  const Problem p(Case{2, 3, 8, 8, 4, 3, 3, {}});
  const Tensor x = p.input.tensor, w = p.weight.tensor, b = p.bias.tensor, y = p.output_grad.tensor;
  Context context(1);
  EXPECT_EQ(message_of([&] { conv2d_forward(context, x, x, w, b, {}); }),
            "conv2d_forward: expected output F32 [2, 4, 6, 6] channels_last, got "
            "F32 [2, 3, 8, 8] channels_last");
  EXPECT_EQ(message_of([&] { conv2d_forward(context, y, x, w, Tensor{}, {}); }),
            "conv2d_forward: expected bias F32 [4], got no memory");
  EXPECT_EQ(message_of([&] { conv2d_backward_input(context, x, x, w, {}); }),
            "conv2d_backward_input: expected output_grad F32 [2, 4, 6, 6] channels_last, got "
            "F32 [2, 3, 8, 8] channels_last");
  EXPECT_EQ(message_of(
                [&] { conv2d_backward_weight(context, w, x, y, x, {}, GradientMode::kOverwrite); }),
            "conv2d_backward_weight: expected bias_grad F32 [4], got "
            "F32 [2, 3, 8, 8] channels_last");
  EXPECT_EQ(message_of([&] {
              conv2d_forward(context, y, x, w, b, {});
            }).find("conv2d_forward: expected a workspace of "),
            0u);
}

}  // namespace
}  // namespace stagecoach
