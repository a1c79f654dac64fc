#include "pipeline/activity.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

TEST(Activity, SaysWhatItWasMadeOf) {
  EXPECT_EQ(describe_activity(0), "before its first step");
  EXPECT_EQ(describe_activity(activity_of(2, {ActionKind::kForward, 1, 4})),
            "in step 3, stage 1, F of micro-batch 4");
  EXPECT_EQ(describe_activity(activity_of(0, {ActionKind::kForward, 0, 0})),
            "in step 1, stage 0, F of micro-batch 0");
  EXPECT_EQ(describe_activity(activity_of(1'000'000, {ActionKind::kOptimizerStep, 1023, -1})),
            "in step 1000001, stage 1023, STEP");
}

}  // namespace
}  // namespace stagecoach
