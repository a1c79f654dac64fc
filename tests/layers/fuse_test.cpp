#include "layers/fuse.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

using enum LayerKind;

std::vector<LayerPlan> plans_of(const std::vector<LayerKind>& kinds) {
  std::vector<LayerPlan> plans(kinds.size());
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    plans[i].kind = kinds[i];
    plans[i].outputs_needed_by_input = kinds[i] == kRelu;
  }
  return plans;
}

// Each layer fed by the one before.
std::vector<std::vector<ValueId>> line(int layers) {
  std::vector<std::vector<ValueId>> inputs;
  for (int i = 0; i < layers; ++i) inputs.push_back({{i - 1, 0}});
  return inputs;
}

TEST(Fuse, TheReluBehindAProductIsPartOfIt) {
  for (const LayerKind kind : {kConv2d, kLinear}) {
    std::vector<LayerPlan> plans = plans_of({kind, kRelu, kOther});
    fuse(plans, line(3));
    EXPECT_EQ(plans[0].fused.activation, Activation::kRelu);
    EXPECT_TRUE(plans[1].fused.forward_is_copy);
    EXPECT_FALSE(plans[1].fused.backward_is_copy);
    EXPECT_TRUE(plans[1].outputs_needed_by_input);
  }
}

TEST(Fuse, ThePoolBehindAReluDoesItsBackward) {
  std::vector<LayerPlan> plans = plans_of({kConv2d, kRelu, kMaxPool2d});
  fuse(plans, line(3));
  EXPECT_EQ(plans[0].fused.activation, Activation::kRelu);
  EXPECT_TRUE(plans[1].fused.forward_is_copy);
  EXPECT_TRUE(plans[1].fused.backward_is_copy);
  EXPECT_FALSE(plans[1].outputs_needed_by_input);
  EXPECT_TRUE(plans[2].fused.input_from_relu);
}

TEST(Fuse, NotOtherPairs) {
  std::vector<LayerPlan> plans = plans_of({kRelu, kConv2d, kOther, kRelu});
  fuse(plans, line(4));
  for (const LayerPlan& plan : plans) {
    EXPECT_EQ(plan.fused.activation, Activation::kNone);
    EXPECT_FALSE(plan.fused.forward_is_copy || plan.fused.backward_is_copy);
  }
}

// Whoever else reads the convolution's output wants it as it is.
TEST(Fuse, OnlyWhereNobodyElseReads) {
  std::vector<LayerPlan> plans = plans_of({kConv2d, kRelu, kOther});
  fuse(plans, {{{-1, 0}}, {{0, 0}}, {{1, 0}, {0, 0}}});
  EXPECT_EQ(plans[0].fused.activation, Activation::kNone);
  EXPECT_FALSE(plans[1].fused.forward_is_copy);
}

}  // namespace
}  // namespace stagecoach
