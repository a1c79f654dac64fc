// The linear layer's operations on a GPU against the CPU's.
#include <gtest/gtest.h>

#include <deque>
#include <span>

#include "layers/layers.h"
#include "tests/cuda/linear_cases.h"

namespace stagecoach {
namespace {

using testing::expect_linear_as_on_cpu;
using testing::LinearCase;

class LinearShim : public ::testing::TestWithParam<LinearCase> {};

TEST_P(LinearShim, IsTheCpus) {
  expect_linear_as_on_cpu(GetParam(), Activation::kNone, GradientMode::kOverwrite);
}

TEST_P(LinearShim, AddsToTheGradients) {
  expect_linear_as_on_cpu(GetParam(), Activation::kNone, GradientMode::kAccumulate);
}

TEST_P(LinearShim, AppliesTheReluToTheSum) {
  expect_linear_as_on_cpu(GetParam(), Activation::kRelu, GradientMode::kOverwrite);
}

TEST_P(LinearShim, RepeatsItsBitsOnAnotherContext) {
  const LinearCase& c = GetParam();
  const auto tensors = testing::linear_tensors(c);
  const auto run = testing::linear_run(Activation::kNone, GradientMode::kAccumulate);
  const testing::Values first = testing::on_gpu(tensors, run, c.target());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(testing::on_gpu(tensors, run, c.target()), first);
}

// W of a step's micro-batches is one product of their rows, in groups of 512.
TEST(LinearLayerShim, MultipliesTheMicroBatchesOfAStepAtOnce) {
  constexpr std::int64_t kRows = 200, kIn = 24, kOut = 16;
  const auto layer = linear_layer(kIn, kOut);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const auto tensors = testing::random_inputs(
        {row_major({kOut, kIn}), row_major({kOut}), row_major({3 * kRows, kOut}, dtype),
         row_major({3 * kRows, kIn}, dtype)},
        71);
    const auto micro_batches = [&](Context& context, const std::vector<Tensor>& t) {
      const TensorSpec rows = row_major({kRows, kIn}, dtype);
      const LayerPlan plan = layer->plan({&rows, 1}, context.target());
      EXPECT_EQ(plan.weight_group, 2);
      std::deque<OwnedTensor> owned;
      std::vector<Tensor> kept;
      for (const TensorSpec& spec : plan.weight_state)
        kept.push_back(owned.emplace_back(spec, testing::kGpu).tensor);
      context.set_workspace(
          owned.emplace_back(row_major({plan.workspace_bytes}, DType::kU8), testing::kGpu).tensor);
      for (std::int64_t m = 0; m < 3; ++m) {
        const Tensor output_grad = rows_of(t[2], m * kRows, kRows);
        const Tensor input = rows_of(t[3], m * kRows, kRows);
        LayerCall call;
        call.inputs = {&input, 1};
        call.output_grads = {&output_grad, 1};
        call.parameter_grads = std::span(t).first(2);
        call.weight_state = kept;
        call.weight_calls = m;
        call.last_weight = m == 2;
        layer->backward_weight(context, plan, call);
      }
      context.stream().synchronize();
    };
    const auto groups = [&](Context& context, const std::vector<Tensor>& t) {
      const OwnedTensor workspace(
          row_major(
              {linear_workspace_bytes(t[3].spec, row_major({kOut, kIn}, dtype), context.target())},
              DType::kU8),
          testing::kGpu);
      context.set_workspace(workspace.tensor);
      linear_backward_weight(context, t[0], t[1], rows_of(t[2], 0, 2 * kRows),
                             rows_of(t[3], 0, 2 * kRows), GradientMode::kOverwrite);
      linear_backward_weight(context, t[0], t[1], rows_of(t[2], 2 * kRows, kRows),
                             rows_of(t[3], 2 * kRows, kRows), GradientMode::kAccumulate);
      context.stream().synchronize();
    };
    Target target(1, testing::kGpu);
    if (dtype == DType::kBF16) target.precision = Precision::kBf16;
    EXPECT_EQ(testing::on_gpu(tensors, micro_batches, target),
              testing::on_gpu(tensors, groups, target));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, LinearShim, ::testing::ValuesIn(testing::linear_cases()),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace stagecoach
