// The rule for losses that are not finite, where steps are launched before others are finished.
#include "core/error.h"
#include "pipeline/step_guard.h"

#include <gtest/gtest.h>

#include "tests/cuda/small_gpu_loop.h"

namespace stagecoach {
namespace {

using testing::Bytes;

class StepGuardShim : public ::testing::Test, protected testing::SmallGpuLoop {};

TEST_F(StepGuardShim, ATrainingStepBehindABadEvaluationTrains) {
  ASSERT_EQ(loop_.max_in_flight(), 2);
  const std::vector<Bytes> before = weights();
  loop_.launch(evaluation(bad_[0]));
  loop_.launch(training(good_[0]));
  EXPECT_FALSE(std::isfinite(loop_.finish().losses.as<float>()[0]));
  EXPECT_TRUE(std::isfinite(loop_.finish().losses.as<float>()[0]));
  EXPECT_NE(weights(), before);
}

TEST_F(StepGuardShim, AStepBehindABadTrainingStepIsDropped) {
  const std::vector<Bytes> before = weights();
  loop_.launch(training(bad_[0]));
  loop_.launch(training(good_[0]));
  EXPECT_THROW(loop_.finish(), NumericError);
  EXPECT_EQ(weights(), before);
  EXPECT_NO_THROW(loop_.run(training(good_[0])));
  EXPECT_NE(weights(), before);
}

TEST_F(StepGuardShim, ABadTrainingStepIsNamedBehindAnEvaluation) {
  const std::vector<Bytes> before = weights();
  loop_.launch(evaluation(bad_[0]));
  loop_.launch(training(bad_[1]));
  EXPECT_NO_THROW(loop_.finish());
  EXPECT_THROW(loop_.finish(), NumericError);
  EXPECT_EQ(weights(), before);
}

}  // namespace
}  // namespace stagecoach
