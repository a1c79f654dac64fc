#include <gtest/gtest.h>

#include "layers/layers.h"
#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::expect_error;

TEST(FlattenLayer, Plans) {
  const LayerPlan plan = testing::plan_of(flatten_layer(), channels_last(8, 256, 6, 5), 2);
  EXPECT_EQ(plan.inputs[0], channels_last(8, 256, 6, 5));
  EXPECT_EQ(plan.outputs[0], row_major({8, 256 * 6 * 5}));
  EXPECT_TRUE(plan.parameters.empty());
  EXPECT_TRUE(plan.saved.empty());
  EXPECT_EQ(plan.workspace_bytes, 0);
  EXPECT_FALSE(plan.in_place);
  EXPECT_FALSE(plan.inputs_needed_by_weight);
  EXPECT_FALSE(plan.outputs_needed_by_input);
}

TEST(FlattenLayer, OrdersByChannelRowColumn) {
  testing::LayerRun run(flatten_layer(), channels_last(2, 3, 4, 5));
  run.run();
  for (std::int64_t n = 0; n < 2; ++n)
    for (std::int64_t c = 0; c < 3; ++c)
      for (std::int64_t h = 0; h < 4; ++h)
        for (std::int64_t w = 0; w < 5; ++w) {
          const std::int64_t column = (c * 4 + h) * 5 + w;
          ASSERT_EQ(at(run.y.tensor, n, column), at(run.x.tensor, n, c, h, w));
          ASSERT_EQ(at(run.dx.tensor, n, c, h, w), at(run.g.tensor, n, column));
        }
}

TEST(FlattenLayer, DescribesItselfAndRefusesWhatDoesNotFit) {
  const auto layer = flatten_layer();
  EXPECT_EQ(layer->describe(), "Flatten()");
  expect_error(
      [&] {
        testing::plan_of(layer, row_major({8, 10}), 1);
      },
      {"Flatten", "rank 4", "[8, 10]"});
  expect_error(
      [&] {
        testing::plan_of(layer, row_major({2, 3, 4, 5}), 1);
      },
      {"Flatten", "input F32 or BF16 channels_last", "got F32 [2, 3, 4, 5]"});
  // A flat tensor of the right size but another shape.
  Context context;
  const OwnedTensor image(channels_last(2, 3, 4, 5)), other(row_major({4, 30}));
  const LayerPlan plan = testing::plan_of(layer, image.tensor.spec, 1);
  LayerCall call;
  call.inputs = call.input_grads = std::span(&image.tensor, 1);
  call.outputs = call.output_grads = std::span(&other.tensor, 1);
  expect_error([&] { layer->forward(context, plan, call); },
               {"Flatten()", "outputs[0] F32 [2, 60]", "[4, 30]"});
  expect_error([&] { layer->backward_input(context, plan, call); },
               {"Flatten()", "output_grads[0] F32 [2, 60]", "[4, 30]"});
}

}  // namespace
}  // namespace stagecoach
