#include <gtest/gtest.h>

#include "layers/layers.h"
#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

using testing::expect_error;

TEST(AdaptiveAvgPool2dLayer, Plans) {
  const TensorSpec input = channels_last(8, 256, 13, 1);
  const LayerPlan plan = testing::plan_of(adaptive_avg_pool2d_layer(6, 5), input, 2);
  EXPECT_EQ(plan.inputs[0], input);
  EXPECT_EQ(plan.outputs[0], channels_last(8, 256, 6, 5));
  EXPECT_TRUE(plan.parameters.empty());
  EXPECT_TRUE(plan.saved.empty());
  EXPECT_EQ(plan.workspace_bytes, 0);
  EXPECT_FALSE(plan.in_place);
  EXPECT_FALSE(plan.inputs_needed_by_weight);
  EXPECT_FALSE(plan.outputs_needed_by_input);
}

// Rows [0, 2) and [1, 3) of three.
TEST(AdaptiveAvgPool2dLayer, AveragesOverlappingRows) {
  testing::LayerRun run(adaptive_avg_pool2d_layer(2, 1), channels_last(1, 1, 3, 1));
  const float x[] = {2, 4, 10};
  std::copy(std::begin(x), std::end(x), run.x.tensor.as<float>());
  run.forward();
  EXPECT_EQ(run.y.tensor.as<float>()[0], 3.0f);
  EXPECT_EQ(run.y.tensor.as<float>()[1], 7.0f);
}

// As AlexNet's at 224: 6 x 6 from 6 x 6.
TEST(AdaptiveAvgPool2dLayer, KeepsAnImageOfItsOwnSize) {
  testing::LayerRun run(adaptive_avg_pool2d_layer(6, 6), channels_last(2, 5, 6, 6));
  run.run();
  EXPECT_EQ(testing::bytes_of(run.y.tensor), testing::bytes_of(run.x.tensor));
  EXPECT_EQ(testing::bytes_of(run.dx.tensor), testing::bytes_of(run.g.tensor));
}

TEST(AdaptiveAvgPool2dLayer, DescribesItselfAndRefusesWhatDoesNotFit) {
  const auto layer = adaptive_avg_pool2d_layer(6, 5);
  EXPECT_EQ(layer->describe(), "AdaptiveAvgPool2d(6x5)");
  const auto plan = [&](const TensorSpec& input) {
    return [=] { testing::plan_of(layer, input, 1); };
  };
  expect_error(
      plan(row_major({2, 3, 7, 7})),
      {"AdaptiveAvgPool2d: expected input F32 or BF16 channels_last", "got F32 [2, 3, 7, 7]"});
  expect_error(plan(row_major({2, 3})), {"AdaptiveAvgPool2d", "rank 4", "[2, 3]"});
  expect_error(plan(channels_last(2, 3, 0, 7)), {"AdaptiveAvgPool2d", "not empty", "[2, 3, 0, 7]"});
  expect_error([] { adaptive_avg_pool2d_layer(0, 6); },
               {"adaptive_avg_pool2d_layer", ">= 1", "0x6"});
}

}  // namespace
}  // namespace stagecoach
