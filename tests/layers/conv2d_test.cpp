#include "kernels/conv2d.h"

#include <gtest/gtest.h>

#include "layers/layers.h"
#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

using testing::expect_error;

TEST(Conv2dLayer, Plans) {
  const Conv2dOptions options{4, 4, 2, 2};
  const TensorSpec input = channels_last(8, 3, 224, 224);
  const TensorSpec weight = channels_last(64, 3, 11, 11);
  const LayerPlan plan = testing::plan_of(conv2d_layer(3, 64, 11, options), input, 2);
  EXPECT_EQ(plan.inputs[0], input);
  EXPECT_EQ(plan.outputs[0], channels_last(8, 64, 55, 55));
  ASSERT_EQ(plan.parameters.size(), 2u);
  EXPECT_EQ(plan.parameters[0].name, "weight");
  EXPECT_EQ(plan.parameters[0].spec, weight);
  EXPECT_EQ(plan.parameters[1].name, "bias");
  EXPECT_EQ(plan.parameters[1].spec, row_major({64}));
  for (const ParameterSpec& parameter : plan.parameters) {
    EXPECT_FLOAT_EQ(parameter.init.a, 0.05248639f);  // 1 / sqrt(3 * 11 * 11)
  }
  EXPECT_TRUE(plan.saved.empty());
  EXPECT_FALSE(plan.in_place);
  EXPECT_TRUE(plan.inputs_needed_by_weight);
  EXPECT_FALSE(plan.outputs_needed_by_input);
}

TEST(Conv2dLayer, PlansTheWorkspaceOfItsThreads) {
  const auto layer = conv2d_layer(64, 192, 5, {1, 1, 2, 2});
  const TensorSpec input = channels_last(8, 64, 27, 27), weight = channels_last(192, 64, 5, 5);
  for (const int threads : {1, 2, 7}) {
    const std::int64_t bytes = testing::plan_of(layer, input, threads).workspace_bytes;
    EXPECT_EQ(bytes, conv2d_workspace_bytes(input, weight, {1, 1, 2, 2}, threads));
    EXPECT_GT(bytes, 0);
  }
}

// 2 * 3 + (-1) * 5 + 10 at the one place, for stride, padding and bias in their places.
TEST(Conv2dLayer, Convolves) {
  testing::LayerRun run(conv2d_layer(2, 1, 1, {2, 2, 0, 0}), channels_last(1, 2, 2, 2));
  const float x[] = {2, -1, 9, 9, 9, 9, 9, 9};
  std::copy(std::begin(x), std::end(x), run.x.tensor.as<float>());
  run.parameters[0].tensor.as<float>()[0] = 3.0f;
  run.parameters[0].tensor.as<float>()[1] = 5.0f;
  run.parameters[1].tensor.as<float>()[0] = 10.0f;
  run.forward();
  ASSERT_EQ(run.plan.outputs[0], channels_last(1, 1, 1, 1));
  EXPECT_EQ(run.y.tensor.as<float>()[0], 11.0f);
}

TEST(Conv2dLayer, DescribesItself) {
  EXPECT_EQ(conv2d_layer(3, 64, 11, {4, 4, 2, 2})->describe(),
            "Conv2d(3, 64, kernel 11x11, stride 4, padding 2)");
  EXPECT_EQ(conv2d_layer(3, 4, 3, {2, 1, 0, 1})->describe(),
            "Conv2d(3, 4, kernel 3x3, stride 2x1, padding 0x1)");
  EXPECT_EQ(conv2d_layer(3, 4, 1)->describe(), "Conv2d(3, 4, kernel 1x1, stride 1)");
}

TEST(Conv2dLayer, RefusesWhatDoesNotFit) {
  const auto layer = conv2d_layer(3, 64, 11, {4, 4, 2, 2});
  const auto plan = [&](const TensorSpec& input) {
    return [=] { testing::plan_of(layer, input, 1); };
  };
  expect_error(plan(channels_last(1, 4, 224, 224)),
               {"Conv2d: expected input [N, 3, H, W]", "[1, 4, 224, 224]"});
  expect_error(plan(row_major({3, 3})), {"Conv2d", "[3, 3]"});
  expect_error(plan(row_major({1, 3, 32, 32})), {"conv2d", "channels_last", "[1, 3, 32, 32]"});
  expect_error(plan(channels_last(1, 3, 6, 224)), {"conv2d", "padded input, 10 x 228", "11 x 11"});
  expect_error(plan(channels_last(0, 3, 32, 32)), {"conv2d", "not empty", "[0, 3, 32, 32]"});
}

TEST(Conv2dLayer, RefusesSizesBelowOne) {
  expect_error([] { conv2d_layer(0, 64, 3); }, {"conv2d_layer", ">= 1", "Conv2d(0, 64"});
  expect_error([] { conv2d_layer(3, -1, 3); }, {"conv2d_layer", ">= 1", "Conv2d(3, -1"});
  expect_error([] { conv2d_layer(3, 64, 0); }, {"conv2d_layer", ">= 1", "kernel 0x0"});
}

}  // namespace
}  // namespace stagecoach
