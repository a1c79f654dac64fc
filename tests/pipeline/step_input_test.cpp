#include "pipeline/step_input.h"

#include <gtest/gtest.h>

#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

TEST(StepInput, HasItsMicroBatches) {
  const testing::SmallBatch batch(4, 0);
  const MicroBatch micro = micro_batch_of(batch.input(6, nullptr), 2, testing::kMicroBatchRows);
  EXPECT_EQ(micro.index, 2);
  EXPECT_EQ(micro.first_sample, 2 * testing::kMicroBatchRows);
  EXPECT_EQ(micro.batch, 4 * testing::kMicroBatchRows);
  EXPECT_EQ(micro.step, 6);
  EXPECT_EQ(micro.seed, testing::kSeed);
  EXPECT_TRUE(micro.training);
  EXPECT_FALSE(micro_batch_of(batch.evaluation(), 2, 3).training);
}

TEST(StepInput, TellsTheOptimizersValues) {
  const testing::SmallBatch batch(4, 0);
  const auto sgd = make_sgd(0.25f);
  EXPECT_EQ(values_of(batch.input(6, sgd.get())).step, 6);
  EXPECT_EQ(values_of(batch.input(6, sgd.get())).learning_rate, 0.25f);
  EXPECT_EQ(values_of(batch.input(6, nullptr)).step, 6);
  EXPECT_EQ(values_of(batch.input(6, nullptr)).learning_rate, 0.0f);
}

}  // namespace
}  // namespace stagecoach
