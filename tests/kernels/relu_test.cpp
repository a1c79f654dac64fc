#include "kernels/relu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::copy_of;
using testing::expect_error;
using testing::expect_same_bytes_everywhere;
using testing::random_tensor;
using testing::run_on_context;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Below, at and above one vector, and above the piece of one task.
constexpr std::int64_t kSizes[] = {1, 3, 16, 33, 200003};

TEST(Relu, KeepsWhatIsAboveZero) {
  for (const std::int64_t size : kSizes) {
    const OwnedTensor input = random_tensor(row_major({size}), 1);
    const OwnedTensor output(input.tensor.spec);
    run_on_context(2,
                   [&](Context& context) { relu_forward(context, output.tensor, input.tensor); });
    for (std::int64_t i = 0; i < size; ++i) {
      const float x = input.tensor.as<float>()[i];
      ASSERT_EQ(output.tensor.as<float>()[i], x > 0.0f ? x : 0.0f) << i;
    }
  }
}

TEST(Relu, KeepsNanAndInfinity) {
  const OwnedTensor x(row_major({5}));
  const float values[] = {kNan, kInfinity, -kInfinity, -0.0f, -1e-42f};
  std::copy(std::begin(values), std::end(values), x.tensor.as<float>());
  run_on_context(1, [&](Context& context) { relu_forward(context, x.tensor, x.tensor); });
  const float* y = x.tensor.as<float>();
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], kInfinity);
  for (int i = 2; i < 5; ++i) EXPECT_EQ(y[i], 0.0f) << i;
  EXPECT_FALSE(std::signbit(y[3]));
}

TEST(Relu, PassesGradientsWhereTheOutputIsAboveZero) {
  for (const std::int64_t size : kSizes) {
    const OwnedTensor output = random_tensor(row_major({size}), 1);
    const OwnedTensor output_grad = random_tensor(row_major({size}), 2);
    const OwnedTensor input_grad(row_major({size}));
    output.tensor.as<float>()[size / 2] = 0.0f;
    run_on_context(2, [&](Context& context) {
      relu_backward(context, input_grad.tensor, output_grad.tensor, output.tensor);
    });
    for (std::int64_t i = 0; i < size; ++i) {
      const float expected =
          output.tensor.as<float>()[i] > 0.0f ? output_grad.tensor.as<float>()[i] : 0.0f;
      ASSERT_EQ(input_grad.tensor.as<float>()[i], expected) << i;
    }
  }
}

TEST(Relu, WorksInPlace) {
  const TensorSpec spec = channels_last(2, 3, 101, 67);
  const OwnedTensor input = random_tensor(spec, 1), output(spec), in_place = copy_of(input.tensor);
  const OwnedTensor grad = random_tensor(spec, 2), input_grad(spec);
  const OwnedTensor grad_in_place = copy_of(grad.tensor);
  run_on_context(2, [&](Context& context) {
    relu_forward(context, output.tensor, input.tensor);
    relu_forward(context, in_place.tensor, in_place.tensor);
    relu_backward(context, input_grad.tensor, grad.tensor, output.tensor);
    relu_backward(context, grad_in_place.tensor, grad_in_place.tensor, output.tensor);
  });
  EXPECT_EQ(bytes_of(in_place.tensor), bytes_of(output.tensor));
  EXPECT_EQ(bytes_of(grad_in_place.tensor), bytes_of(input_grad.tensor));
}

TEST(Relu, GivesTheSameBytesEverywhere) {
  const OwnedTensor input = random_tensor(row_major({300001}), 1);
  expect_same_bytes_everywhere([&](int threads) {
    const OwnedTensor output(input.tensor.spec);
    run_on_context(threads, [&](Context& context) {
      relu_forward(context, output.tensor, input.tensor);
      relu_backward(context, output.tensor, input.tensor, output.tensor);
    });
    return bytes_of(output.tensor);
  });
}

TEST(Relu, RefusesOtherTensors) {
  Context context;
  const OwnedTensor a(row_major({4})), b(row_major({5})), bytes(row_major({4}, DType::kU8));
  Tensor no_memory = a.tensor;
  no_memory.data = nullptr;
  expect_error([&] { relu_forward(context, a.tensor, b.tensor); },
               {"relu_forward", "output F32 [5]", "[4]"});
  expect_error([&] { relu_forward(context, bytes.tensor, bytes.tensor); },
               {"relu_forward", "input F32", "U8 [4]"});
  expect_error([&] { relu_forward(context, a.tensor, no_memory); }, {"relu_forward", "input"});
  expect_error([&] { relu_backward(context, b.tensor, a.tensor, a.tensor); },
               {"relu_backward", "input_grad", "[5]"});
  expect_error([&] { relu_backward(context, a.tensor, b.tensor, a.tensor); },
               {"relu_backward", "output_grad", "[5]"});
}

}  // namespace
}  // namespace stagecoach
