#include <gtest/gtest.h>

#include "kernels/linear.h"
#include "layers/layers.h"
#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

using testing::expect_error;

TEST(LinearLayer, Plans) {
  const LayerPlan plan = testing::plan_of(linear_layer(9216, 4096), row_major({8, 9216}), 2);
  EXPECT_EQ(plan.inputs[0], row_major({8, 9216}));
  EXPECT_EQ(plan.outputs[0], row_major({8, 4096}));
  ASSERT_EQ(plan.parameters.size(), 2u);
  EXPECT_EQ(plan.parameters[0].name, "weight");
  EXPECT_EQ(plan.parameters[0].spec, row_major({4096, 9216}));
  EXPECT_EQ(plan.parameters[1].name, "bias");
  EXPECT_EQ(plan.parameters[1].spec, row_major({4096}));
  for (const ParameterSpec& parameter : plan.parameters) {
    EXPECT_EQ(parameter.init.a, 1.0f / 96);  // 96 * 96 = 9216
  }
  EXPECT_TRUE(plan.saved.empty());
  EXPECT_EQ(plan.workspace_bytes,
            linear_workspace_bytes(plan.inputs[0], plan.parameters[0].spec, 2));
  EXPECT_FALSE(plan.in_place);
  EXPECT_TRUE(plan.inputs_needed_by_weight);
  EXPECT_FALSE(plan.outputs_needed_by_input);
}

TEST(LinearLayer, MultipliesAndAdds) {
  testing::LayerRun run(linear_layer(2, 3), row_major({1, 2}));
  const float x[] = {2, -1}, weight[] = {1, 0, 0, 1, 10, 100}, bias[] = {7, 8, 9};
  std::copy(std::begin(x), std::end(x), run.x.tensor.as<float>());
  std::copy(std::begin(weight), std::end(weight), run.parameters[0].tensor.as<float>());
  std::copy(std::begin(bias), std::end(bias), run.parameters[1].tensor.as<float>());
  run.forward();
  const float expected[] = {9, 7, -71};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run.y.tensor.as<float>()[i], expected[i]) << i;
}

// However a batch is cut: in groups that W multiplies at once, with rests, or alone.
TEST(LinearLayer, WeightGradientsOfAStepAreTheChainOverItsRows) {
  constexpr std::int64_t kRows = 140, kIn = 19, kOut = 6;
  const auto layer = linear_layer(kIn, kOut);
  const OwnedTensor x = testing::random_tensor(row_major({kRows, kIn}), 1);
  const OwnedTensor g = testing::random_tensor(row_major({kRows, kOut}), 2);
  const OwnedTensor weight(row_major({kOut, kIn})), bias(row_major({kOut}));
  const auto gradients = [&](std::int64_t rows, std::int64_t group) {
    const LayerPlan plan = testing::plan_of(layer, row_major({rows, kIn}), 2);
    EXPECT_EQ(plan.weight_group, group);
    const OwnedTensor weight_grad(weight.tensor.spec), bias_grad(bias.tensor.spec);
    const std::vector<OwnedTensor> state = testing::poisoned(plan.weight_state);
    const std::vector<Tensor> kept = testing::views(state);
    const Tensor grads[] = {weight_grad.tensor, bias_grad.tensor};
    testing::run_on_context(2, plan.workspace_bytes, [&](Context& context) {
      for (std::int64_t m = 0; m < kRows / rows; ++m) {
        const Tensor input = rows_of(x.tensor, m * rows, rows);
        const Tensor output_grad = rows_of(g.tensor, m * rows, rows);
        LayerCall call;
        call.inputs = {&input, 1};
        call.output_grads = {&output_grad, 1};
        call.parameter_grads = grads;
        call.weight_state = kept;
        call.weight_calls = m;
        call.last_weight = m + 1 == kRows / rows;
        layer->backward_weight(context, plan, call);
      }
    });
    std::vector<std::uint8_t> bytes = testing::bytes_of(weight_grad.tensor);
    const std::vector<std::uint8_t> more = testing::bytes_of(bias_grad.tensor);
    bytes.insert(bytes.end(), more.begin(), more.end());
    return bytes;
  };
  const std::vector<std::uint8_t> whole = gradients(kRows, 1);
  for (const auto& [rows, group] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1, 32}, {2, 32}, {5, 12}, {28, 2}, {35, 1}, {70, 1}}) {
    EXPECT_EQ(gradients(rows, group), whole) << rows;
  }
}

TEST(LinearLayer, DescribesItself) {
  EXPECT_EQ(linear_layer(4096, 10)->describe(), "Linear(4096, 10)");
}

TEST(LinearLayer, RefusesWhatDoesNotFit) {
  const auto layer = linear_layer(12, 5);
  const auto plan = [&](const TensorSpec& input) {
    return [=] { testing::plan_of(layer, input, 1); };
  };
  expect_error(plan(row_major({3, 13})), {"Linear: expected input F32 or BF16 [N, 12]", "[3, 13]"});
  expect_error(plan(channels_last(3, 12, 1, 1)), {"Linear", "[3, 12, 1, 1]"});
  expect_error(plan(row_major({3, 12}, DType::kI32)), {"Linear", "got I32 [3, 12]"});
  expect_error(plan(row_major({0, 12})), {"Linear", "[0, 12]"});
  expect_error([] { linear_layer(0, 5); }, {"linear_layer", ">= 1", "Linear(0, 5)"});
  expect_error([] { linear_layer(5, 0); }, {"linear_layer", ">= 1", "Linear(5, 0)"});
}

}  // namespace
}  // namespace stagecoach
