// A GPU's convolutions against the CPU's: the packing of their operands and their workspace. On the
// simulated runtime the library in between is simulated.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <tuple>

#include "core/error.h"
#include "kernels/conv2d.h"
#include "kernels/cuda/operations.h"
#include "tests/cuda/both.h"
#include "tests/cuda/conv2d_cases.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::Conv2dCase;
using testing::on_cpu;
using testing::on_gpu;

// -1, 0 and 1.
std::deque<OwnedTensor> random_signs(const std::vector<TensorSpec>& specs) {
  std::deque<OwnedTensor> tensors = testing::random_inputs(specs, 11);
  for (const OwnedTensor& owned : tensors) {
    const Tensor& tensor = owned.tensor;
    const std::vector<float> values = testing::values_of(tensor);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float sign = std::round(1.4f * values[i]);
      if (tensor.spec.dtype == DType::kBF16) tensor.as<BFloat16>()[i] = BFloat16(sign);
      if (tensor.spec.dtype == DType::kF32) tensor.as<float>()[i] = sign;
    }
  }
  return tensors;
}

// All results are whole numbers; a real GPU's engine may come to them on a way that rounds.
::testing::AssertionResult same_numbers(const testing::Values& got,
                                        const testing::Values& expected) {
  for (std::size_t t = 0; t < expected.size(); ++t) {
    for (std::size_t i = 0; i < expected[t].size(); ++i) {
      if (std::abs(got.at(t).at(i) - expected[t][i]) < 0.01f) continue;
      return ::testing::AssertionFailure() << "element " << i << " of tensor " << t << " is "
                                           << got[t][i] << " instead of " << expected[t][i];
    }
  }
  return ::testing::AssertionSuccess();
}

// A workspace of what the plan said, full of NaN.
void with_workspace(Context& context, const TensorSpec& input, const TensorSpec& weight,
                    const Conv2dOptions& options, const std::function<void()>& run) {
  const std::int64_t bytes = conv2d_workspace_bytes(input, weight, options, context.target());
  const OwnedTensor nans({.dtype = DType::kU8, .shape = {bytes}});
  const OwnedTensor workspace(nans.tensor.spec, context.device());
  std::memset(nans.tensor.data, 0xff, static_cast<std::size_t>(bytes));
  copy(context.stream(), workspace.tensor, nans.tensor);
  context.set_workspace(workspace.tensor);
  run();
  context.stream().synchronize();
  context.set_workspace({});
}

class Conv2dShim : public ::testing::TestWithParam<std::tuple<Conv2dCase, Precision>> {
 protected:
  Conv2dShim() : sizes(std::get<0>(GetParam())), target(1, testing::kGpu) {
    target.precision = std::get<1>(GetParam());
    dtype = target.precision == Precision::kBf16 ? DType::kBF16 : DType::kF32;
    input = channels_last(sizes.images, sizes.channels, sizes.height, sizes.width, dtype);
    weight = channels_last(sizes.outputs, sizes.channels, sizes.kernel_h, sizes.kernel_w, dtype);
    output = conv2d_output(input, weight, sizes.options);
    bias = row_major({sizes.outputs}, dtype);
  }

  Conv2dCase sizes;
  Target target;
  DType dtype = DType::kF32;
  TensorSpec input, weight, output, bias;
};

TEST_P(Conv2dShim, ForwardIsTheCpus) {
  const auto run = [&](Context& context, const std::vector<Tensor>& t) {
    with_workspace(context, t[1].spec, t[2].spec, sizes.options,
                   [&] { conv2d_forward(context, t[0], t[1], t[2], t[3], sizes.options); });
  };
  const auto inputs = random_signs({output, input, weight, bias});
  EXPECT_TRUE(same_numbers(on_gpu(inputs, run, target), on_cpu(inputs, run)));
}

TEST_P(Conv2dShim, ForwardWithReluIsTheCpusWithReluAfterwards) {
  const auto inputs = random_signs({output, input, weight, bias});
  const auto with = [&](Activation activation) {
    return on_gpu(
        inputs,
        [&](Context& context, const std::vector<Tensor>& t) {
          with_workspace(context, t[1].spec, t[2].spec, sizes.options, [&] {
            conv2d_forward(context, t[0], t[1], t[2], t[3], sizes.options, activation);
          });
        },
        target);
  };
  testing::Values expected = with(Activation::kNone);
  for (float& value : expected[0]) value = std::max(value, 0.0f);
  EXPECT_TRUE(same_numbers(with(Activation::kRelu), expected));
}

TEST_P(Conv2dShim, BackwardInputIsTheCpus) {
  const auto run = [&](Context& context, const std::vector<Tensor>& t) {
    with_workspace(context, t[0].spec, t[2].spec, sizes.options,
                   [&] { conv2d_backward_input(context, t[0], t[1], t[2], sizes.options); });
  };
  const auto inputs = random_signs({input, output, weight});
  EXPECT_TRUE(same_numbers(on_gpu(inputs, run, target), on_cpu(inputs, run)));
}

TEST_P(Conv2dShim, BackwardWeightIsTheCpus) {
  TensorSpec weight_grad = weight;
  weight_grad.dtype = DType::kF32;
  for (const GradientMode mode : {GradientMode::kOverwrite, GradientMode::kAccumulate}) {
    const auto run = [&](Context& context, const std::vector<Tensor>& t) {
      with_workspace(context, t[3].spec, t[0].spec, sizes.options, [&] {
        conv2d_backward_weight(context, t[0], t[1], t[2], t[3], sizes.options, mode);
      });
    };
    const auto inputs = random_signs({weight_grad, row_major({sizes.outputs}), output, input});
    EXPECT_TRUE(same_numbers(on_gpu(inputs, run, target), on_cpu(inputs, run)));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Conv2dShim,
                         ::testing::Combine(::testing::ValuesIn(testing::kConv2dCases),
                                            ::testing::Values(Precision::kFp32, Precision::kTf32,
                                                              Precision::kBf16)));

TEST(Conv2dShimErrors, TheTargetsDtypeAndWorkspaceAreAskedFor) {
  Target target(1, testing::kGpu);
  const TensorSpec input = channels_last(1, 8, 4, 4, DType::kBF16);
  const TensorSpec weight = channels_last(8, 8, 3, 3, DType::kBF16);
  EXPECT_THROW(conv2d_workspace_bytes(input, weight, {}, target), Error);
  target.precision = Precision::kBf16;
  EXPECT_GT(conv2d_workspace_bytes(input, weight, {}, target), 0);
  const OwnedTensor x(input, target.device);
  const OwnedTensor y(conv2d_output(input, weight, {}), target.device);
  const OwnedTensor w_grad(channels_last(8, 8, 3, 3), target.device);
  const OwnedTensor b_grad(row_major({8}), target.device);
  Context context(target);  // without a workspace, which W always needs in bf16
  EXPECT_THROW(conv2d_backward_weight(context, w_grad.tensor, b_grad.tensor, y.tensor, x.tensor, {},
                                      GradientMode::kOverwrite),
               Error);
}

}  // namespace
}  // namespace stagecoach
