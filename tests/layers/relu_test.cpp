#include <gtest/gtest.h>

#include "layers/layers.h"
#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

TEST(ReluLayer, Plans) {
  for (const TensorSpec& input : {channels_last(2, 3, 4, 5), row_major({8, 4096})}) {
    const LayerPlan plan = testing::plan_of(relu_layer(), input, 2);
    EXPECT_EQ(plan.inputs[0], input);
    EXPECT_EQ(plan.outputs[0], input);
    EXPECT_TRUE(plan.parameters.empty());
    EXPECT_TRUE(plan.saved.empty());
    EXPECT_EQ(plan.workspace_bytes, 0);
    EXPECT_TRUE(plan.in_place);
    EXPECT_FALSE(plan.inputs_needed_by_weight);
    EXPECT_TRUE(plan.outputs_needed_by_input);
  }
}

TEST(ReluLayer, KeepsWhatIsAboveZero) {
  testing::LayerRun run(relu_layer(), row_major({1, 3}));
  const float x[] = {-2, 0, 3}, expected[] = {0, 0, 3};
  std::copy(std::begin(x), std::end(x), run.x.tensor.as<float>());
  run.run();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run.y.tensor.as<float>()[i], expected[i]) << i;
  for (int i = 0; i < 2; ++i) EXPECT_EQ(run.dx.tensor.as<float>()[i], 0.0f) << i;
  EXPECT_EQ(run.dx.tensor.as<float>()[2], run.g.tensor.as<float>()[2]);
}

TEST(ReluLayer, DescribesItselfAndRefusesOtherTypes) {
  EXPECT_EQ(relu_layer()->describe(), "ReLU()");
  testing::expect_error([] { testing::plan_of(relu_layer(), row_major({3}, DType::kI32), 1); },
                        {"ReLU: expected input F32 or BF16", "I32 [3]"});
}

}  // namespace
}  // namespace stagecoach
