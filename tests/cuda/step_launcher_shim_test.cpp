#include "pipeline/step_launcher.h"

#include <gtest/gtest.h>

#include "tests/cuda/small_gpu_loop.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::Bytes;
using testing::expect_error;

class StepLauncherShim : public ::testing::Test, protected testing::SmallGpuLoop {};

TEST_F(StepLauncherShim, LaunchesTwoStepsAtMost) {
  loop_.launch(training(good_[0]));
  loop_.launch(training(good_[1]));
  expect_error([&] { loop_.launch(training(bad_[0])); }, {"StepLauncher::launch", "less than 2"});
  loop_.finish();
  loop_.finish();
  expect_error([&] { loop_.finish(); }, {"StepLauncher::finish", "a step in flight"});
}

TEST_F(StepLauncherShim, RefusesABatchThatAStepInFlightReads) {
  loop_.launch(training(good_[0]));
  expect_error([&] { loop_.launch(training(good_[0])); }, {"a batch that no step in flight reads"});
  loop_.finish();
}

TEST_F(StepLauncherShim, StepsAheadGiveTheBitsOfStepsOneByOne) {
  testing::SmallGpuLoop apart;
  std::vector<Bytes> expected, losses;
  for (std::int64_t step = 4; step < 8; ++step) {
    const StepInput input = apart.training(apart.good_[step % 2], step);
    expected.push_back(testing::bytes_of(apart.loop_.run(input).losses));
  }
  for (std::int64_t step = 4; step < 8; ++step) {
    loop_.launch(training(good_[step % 2], step));
    if (step > 4) losses.push_back(testing::bytes_of(loop_.finish().losses));
  }
  losses.push_back(testing::bytes_of(loop_.finish().losses));
  EXPECT_EQ(losses, expected);
  EXPECT_EQ(weights(), apart.weights());
}

// Evaluations share their results' memory, and leave weights alone.
TEST_F(StepLauncherShim, EvaluatesBehindATrainingStep) {
  loop_.launch(training(good_[0]));
  loop_.launch(evaluation(good_[1]));
  loop_.finish();
  const std::vector<Bytes> after = weights();
  const Bytes losses = testing::bytes_of(loop_.finish().losses);
  EXPECT_EQ(weights(), after);
  EXPECT_EQ(testing::bytes_of(loop_.run(evaluation(good_[1])).losses), losses);
}

}  // namespace
}  // namespace stagecoach
