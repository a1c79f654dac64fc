// A residual network on a GPU: the same bits for every number of stages, schedule and way to
// launch; what a failed step leaves.
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/cuda/both.h"
#include "tests/pipeline/residual_job.h"

namespace stagecoach {
namespace {

using testing::residual_network;
using testing::residual_options;
using testing::residual_regression;
using testing::ResidualJob;
using testing::ResidualOutcome;
using testing::trained_by;

PipelineOptions on_gpu(PipelineOptions options) {
  options.target = Target(1, testing::kGpu);
  return options;
}

TEST(ResidualShim, SameBitsForEveryScheduleAndNumberOfStages) {
  const ResidualOutcome expected =
      trained_by(on_gpu(testing::plain_options(4)), residual_network());
  bool eager = false;
  for (const std::string& name : schedule_names()) {
    for (const int ranks : {1, 2, 4}) {
      eager = !eager;  // graphs and single launches take turns
      for (const Recompute recompute : {Recompute::kNever, Recompute::kAlways}) {
        Schedule schedule;
        try {
          schedule = with_recompute(make_schedule(name, ranks, 4), recompute);
        } catch (const UsageError&) {  // not with so few micro-batches
          continue;
        }
        PipelineOptions options = on_gpu(residual_options(schedule));
        options.eager = eager != (recompute == Recompute::kAlways);
        SCOPED_TRACE(fmt::format("{}, {} ranks", name, ranks));
        ASSERT_EQ(trained_by(options, residual_network()), expected);
      }
    }
  }
}

TEST(ResidualShim, RegressionGivesTheSameBits) {
  const ResidualOutcome expected =
      trained_by(on_gpu(testing::plain_options(4)), residual_regression());
  for (const char* name : {"gpipe", "1f1b", "zb-h1"}) {
    ASSERT_EQ(
        trained_by(on_gpu(residual_options(make_schedule(name, 4, 4))), residual_regression()),
        expected)
        << name;
  }
}

TEST(ResidualShim, AFailedStepChangesNeitherWeightsNorStatistics) {
  for (const int stages : {0, 1, 3}) {
    SCOPED_TRACE(stages);
    ResidualJob job(on_gpu(stages == 0 ? testing::plain_options(3)
                                       : residual_options(gpipe_schedule(stages, 3))),
                    residual_network());
    job.train(4);  // the last ones are graphs
    const ResidualOutcome before = job.trained();
    EXPECT_THROW(job.run(4, true, testing::spoil_an_image), NumericError);
    const ResidualOutcome after = job.trained();
    EXPECT_EQ(after.weights, before.weights);
    EXPECT_EQ(after.buffers, before.buffers);
    job.train(1, 4);
    ResidualJob undisturbed(on_gpu(testing::plain_options(3)), residual_network());
    undisturbed.train(5);
    EXPECT_EQ(job.trained(), undisturbed.trained());
  }
}

}  // namespace
}  // namespace stagecoach
