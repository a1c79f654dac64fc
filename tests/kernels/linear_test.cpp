#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"
#include "kernels/relu.h"
#include "tests/kernels/reference_sums.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::bytes_of;
using testing::copy_of;
using testing::expect_sums;
using testing::filled_tensor;
using testing::random_tensor;
using testing::ReferenceSums;
using testing::run_on_context;

struct Case {
  std::int64_t rows, inputs, outputs;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.rows << " rows, " << c.inputs << " -> " << c.outputs;
}

struct Problem {
  explicit Problem(const Case& c)
      : sizes(c),
        input(random_tensor(row_major({c.rows, c.inputs}), 1)),
        weight(random_tensor(row_major({c.outputs, c.inputs}), 2)),
        bias(random_tensor(row_major({c.outputs}), 3)),
        output_grad(random_tensor(row_major({c.rows, c.outputs}), 4)) {}

  OwnedTensor forward(int threads = 2, Activation activation = Activation::kNone) const {
    OwnedTensor y = filled_tensor(output_grad.tensor.spec, 77.0f);
    const std::int64_t bytes =
        linear_workspace_bytes(input.tensor.spec, weight.tensor.spec, Target(threads, {}));
    run_on_context(threads, bytes, [&](Context& context) {
      linear_forward(context, y.tensor, input.tensor, weight.tensor, bias.tensor, activation);
    });
    return y;
  }
  OwnedTensor input_grad(int threads = 2) const {
    OwnedTensor dx = filled_tensor(input.tensor.spec, 77.0f);
    run_on_context(threads, [&](Context& context) {
      linear_backward_input(context, dx.tensor, output_grad.tensor, weight.tensor);
    });
    return dx;
  }
  struct Gradients {
    OwnedTensor weight, bias;
  };
  void add_gradients(int threads, const Gradients& to, GradientMode mode) const {
    run_on_context(threads, [&](Context& context) {
      linear_backward_weight(context, to.weight.tensor, to.bias.tensor, output_grad.tensor,
                             input.tensor, mode);
    });
  }
  Gradients gradients(int threads = 2) const {
    Gradients result{filled_tensor(weight.tensor.spec, 77.0f),
                     filled_tensor(bias.tensor.spec, 77.0f)};
    add_gradients(threads, result, GradientMode::kOverwrite);
    return result;
  }

  // The definition: calls body(r, i, o) for each product of the three operations.
  template <typename Body>
  void for_each_product(const Body& body) const {
    for (std::int64_t r = 0; r < sizes.rows; ++r)
      for (std::int64_t o = 0; o < sizes.outputs; ++o)
        for (std::int64_t i = 0; i < sizes.inputs; ++i) body(r, i, o);
  }
  // What `times` runs of W add up to.
  ReferenceSums weight_reference(int times) const {
    ReferenceSums sums(weight.tensor.spec);
    for (int t = 0; t < times; ++t) {
      for_each_product([&](auto r, auto i, auto o) {
        sums.add(o * sizes.inputs + i,
                 static_cast<double>(at(output_grad.tensor, r, o)) * at(input.tensor, r, i));
      });
    }
    return sums;
  }
  ReferenceSums bias_reference(int times) const {
    ReferenceSums sums(bias.tensor.spec);
    for (int t = 0; t < times; ++t) {
      for (std::int64_t i = 0; i < output_grad.tensor.elements(); ++i) {
        sums.add(i % sizes.outputs, output_grad.tensor.as<float>()[i]);
      }
    }
    return sums;
  }

  Case sizes;
  OwnedTensor input, weight, bias, output_grad;
};

class LinearTest : public ::testing::TestWithParam<Case> {};

TEST_P(LinearTest, ForwardIsTheDefinition) {
  const Problem p(GetParam());
  ReferenceSums sums(p.output_grad.tensor.spec);
  for (std::int64_t i = 0; i < sums.spec.elements(); ++i) {
    sums.add(i, p.bias.tensor.as<float>()[i % p.sizes.outputs]);
  }
  p.for_each_product([&](auto r, auto i, auto o) {
    sums.add(r * p.sizes.outputs + o,
             static_cast<double>(at(p.input.tensor, r, i)) * at(p.weight.tensor, o, i));
  });
  expect_sums(p.forward().tensor, sums);
}

TEST_P(LinearTest, InputGradientIsTheDefinition) {
  const Problem p(GetParam());
  ReferenceSums sums(p.input.tensor.spec);
  p.for_each_product([&](auto r, auto i, auto o) {
    sums.add(r * p.sizes.inputs + i,
             static_cast<double>(at(p.output_grad.tensor, r, o)) * at(p.weight.tensor, o, i));
  });
  expect_sums(p.input_grad().tensor, sums);
}

TEST_P(LinearTest, WeightAndBiasGradientsAreTheDefinition) {
  const Problem p(GetParam());
  const Problem::Gradients result = p.gradients();
  expect_sums(result.weight.tensor, p.weight_reference(1));
  expect_sums(result.bias.tensor, p.bias_reference(1));
}

TEST_P(LinearTest, AccumulatingTwiceIsTwiceTheGradient) {
  const Problem p(GetParam());
  const Problem::Gradients twice = p.gradients();
  p.add_gradients(2, twice, GradientMode::kAccumulate);
  expect_sums(twice.weight.tensor, p.weight_reference(2));
  expect_sums(twice.bias.tensor, p.bias_reference(2));
}

TEST_P(LinearTest, SameBitsForAnyNumberOfThreads) {
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

TEST_P(LinearTest, AppliesTheRelu) {
  const Problem p(GetParam());
  const OwnedTensor expected = p.forward();
  run_on_context(
      1, [&](Context& context) { relu_forward(context, expected.tensor, expected.tensor); });
  EXPECT_EQ(bytes_of(p.forward(2, Activation::kRelu).tensor), bytes_of(expected.tensor));
}

// Every group size, tails of vectors and of tiles, several tasks, and batches that go to the GEMM.
INSTANTIATE_TEST_SUITE_P(Sizes, LinearTest,
                         ::testing::Values(Case{1, 1, 1}, Case{2, 5, 3}, Case{3, 16, 4},
                                           Case{4, 33, 65}, Case{5, 7, 130}, Case{6, 40, 11},
                                           Case{7, 600, 10}, Case{8, 1100, 70}, Case{9, 31, 9},
                                           Case{32, 50, 66}, Case{47, 19, 5}, Case{48, 19, 5},
                                           Case{100, 530, 130}));

TEST(LinearErrorTest, NamesWhatIsWrong) {
  const Problem p(Case{2, 3, 4});
  const Tensor x = p.input.tensor, w = p.weight.tensor, b = p.bias.tensor, y = p.output_grad.tensor;
  const OwnedTensor other = random_tensor(row_major({5, 7}), 1);
  const OwnedTensor image = random_tensor(channels_last(2, 3, 1, 1), 1);
  const OwnedTensor empty(row_major({0, 3}));
  const OwnedTensor bf16({DType::kBF16, {2, 3}});
  Context context;
  const auto message = [](const auto& body) -> std::string {
    try {
      body();
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_EQ(message([&] { linear_forward(context, y, x, other.tensor, b); }),
            "linear_forward: expected weight F32 [5, 3], got F32 [5, 7]");
  EXPECT_EQ(message([&] { linear_forward(context, x, x, w, b); }),
            "linear_forward: expected output F32 [2, 4], got F32 [2, 3]");
  EXPECT_EQ(message([&] { linear_forward(context, y, image.tensor, w, b); }),
            "linear_forward: expected input of rank 2, not empty, got "
            "F32 [2, 3, 1, 1] channels_last");
  EXPECT_EQ(message([&] { linear_forward(context, y, empty.tensor, w, b); }),
            "linear_forward: expected input of rank 2, not empty, got F32 [0, 3]");
  EXPECT_EQ(message([&] { linear_forward(context, y, bf16.tensor, w, b); }),
            "linear_forward: expected input F32, got BF16 [2, 3]");
  EXPECT_EQ(message([&] { linear_forward(context, y, x, w, Tensor{}); }),
            "linear_forward: expected bias F32 [4], got no memory");
  EXPECT_EQ(message([&] { linear_backward_input(context, x, x, w); }),
            "linear_backward_input: expected output_grad F32 [2, 4], got F32 [2, 3]");
  EXPECT_EQ(message([&] { linear_backward_weight(context, w, w, y, x, GradientMode::kOverwrite); }),
            "linear_backward_weight: expected bias_grad F32 [4], got F32 [4, 3]");
}

}  // namespace
}  // namespace stagecoach
