#include <gtest/gtest.h>

#include "layers/layers.h"
#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

using testing::expect_error;

TEST(MaxPool2dLayer, Plans) {
  const TensorSpec input = channels_last(8, 64, 55, 55);
  const LayerPlan plan = testing::plan_of(max_pool2d_layer({3, 3, 2, 2, 0, 0}), input, 2);
  EXPECT_EQ(plan.inputs[0], input);
  EXPECT_EQ(plan.outputs[0], channels_last(8, 64, 27, 27));
  EXPECT_TRUE(plan.parameters.empty());
  ASSERT_EQ(plan.saved.size(), 1u);
  EXPECT_EQ(plan.saved[0], channels_last(8, 64, 27, 27, DType::kU8));
  EXPECT_EQ(plan.workspace_bytes, 0);
  EXPECT_FALSE(plan.in_place);
  EXPECT_FALSE(plan.inputs_needed_by_weight);
  EXPECT_FALSE(plan.outputs_needed_by_input);
}

TEST(MaxPool2dLayer, TakesTheLargestOfAWindow) {
  testing::LayerRun run(max_pool2d_layer({2, 2, 2, 2, 0, 0}), channels_last(1, 1, 2, 4));
  const float x[] = {1, 5, 2, 0, 3, 4, -1, 7};
  std::copy(std::begin(x), std::end(x), run.x.tensor.as<float>());
  run.run();
  EXPECT_EQ(run.y.tensor.as<float>()[0], 5.0f);
  EXPECT_EQ(run.y.tensor.as<float>()[1], 7.0f);
  for (int i = 0; i < 8; ++i) {
    const float expected = i == 1   ? run.g.tensor.as<float>()[0]
                           : i == 7 ? run.g.tensor.as<float>()[1]
                                    : 0.0f;
    EXPECT_EQ(run.dx.tensor.as<float>()[i], expected) << i;
  }
}

TEST(MaxPool2dLayer, DescribesItself) {
  EXPECT_EQ(max_pool2d_layer({3, 3, 2, 2, 0, 0})->describe(), "MaxPool2d(kernel 3x3, stride 2)");
  EXPECT_EQ(max_pool2d_layer({3, 2, 2, 1, 1, 1})->describe(),
            "MaxPool2d(kernel 3x2, stride 2x1, padding 1)");
}

TEST(MaxPool2dLayer, RefusesWhatDoesNotFit) {
  const auto layer = max_pool2d_layer({3, 3, 2, 2, 0, 0});
  const auto plan = [&](const TensorSpec& input) {
    return [=] { testing::plan_of(layer, input, 1); };
  };
  expect_error(plan(channels_last(1, 64, 2, 5)), {"max_pool2d", "padded input, 2 x 5", "3 x 3"});
  expect_error(plan(row_major({8, 64})), {"max_pool2d", "channels_last of rank 4", "[8, 64]"});
  expect_error(
      [] {
        testing::plan_of(max_pool2d_layer({3, 3, 0, 2, 0, 0}), channels_last(1, 1, 8, 8), 1);
      },
      {"max_pool2d", "strides >= 1", "0 x 2"});
}

}  // namespace
}  // namespace stagecoach
