#include "pipeline/training_loop.h"

#include <gtest/gtest.h>

#include <cmath>

#include "pipeline/plain_loop.h"
#include "pipeline/schedule/generators.h"
#include "tests/kernels/checks.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::expect_error;
using testing::SmallBatch;

TEST(TrainingLoop, HasOneStepInFlightOnTheCpu) {
  testing::Job<PlainLoop> job(testing::small_options(naive_schedule(1, 2), {}));
  EXPECT_EQ(job.loop.max_in_flight(), 1);
  const SmallBatch batch(2, 0);
  expect_error([&] { job.loop.finish(); }, {"TrainingLoop::finish", "a step in flight"});
  job.loop.launch(batch.evaluation());
  expect_error([&] { job.loop.launch(batch.evaluation()); },
               {"TrainingLoop::launch", "no step in flight"});
  EXPECT_EQ(job.loop.finish().losses.elements(), 2 * testing::kMicroBatchRows);
  EXPECT_NO_THROW(job.loop.run(batch.evaluation()));
}

TEST(TrainingLoop, FindsNothingWhereAllIsFinite) {
  testing::Job<PlainLoop> job(testing::small_options(naive_schedule(1, 2), {}));
  const SmallBatch batch(2, 0);
  EXPECT_FALSE(job.loop.first_nonfinite(batch.input(0, nullptr), 2).has_value());
  batch.images.tensor.as<float>()[batch.images.tensor.elements() - 1] = INFINITY;
  const auto found = job.loop.first_nonfinite(batch.input(0, nullptr), 2);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->layer, 0);
  EXPECT_EQ(found->micro_batch, 1);
}

}  // namespace
}  // namespace stagecoach
