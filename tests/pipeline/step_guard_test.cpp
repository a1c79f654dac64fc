#include "pipeline/step_guard.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/finite.h"
#include "pipeline/pipeline.h"
#include "pipeline/plain_loop.h"
#include "pipeline/schedule/generators.h"
#include "tests/kernels/checks.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::filled_tensor;
using testing::Job;
using testing::small_options;
using testing::SmallBatch;

constexpr int kMicroBatches = 2;

StepInput step_input(std::int64_t step, bool training) {
  StepInput input;
  input.micro.step = step;
  input.micro.training = training;
  return input;
}

TEST(StepGuard, NamesTheLossOfATrainingStepThatIsNotFinite) {
  Context context;
  const StepGuard guard({&context}, kMicroBatches);
  const OwnedTensor losses = filled_tensor(row_major({6}), 1.0f);
  EXPECT_NO_THROW(guard.check(step_input(6, true), losses.tensor));
  losses.tensor.as<float>()[4] = std::nanf("");
  losses.tensor.as<float>()[5] = INFINITY;
  EXPECT_NO_THROW(guard.check(step_input(6, false), losses.tensor));
  EXPECT_THROW(guard.check(step_input(6, true), losses.tensor), NumericError);
  testing::expect_error([&] { guard.check(step_input(6, true), losses.tensor); },
                        {"training step 7: expected a finite loss, got nan for sample 1 of "
                         "micro-batch 1"});
}

TEST(StepGuard, LowersItsFlagWhenNoTrainingStepIsInFlight) {
  Context one, other;
  std::optional<StepGuard> guard;
  guard.emplace(std::vector<Context*>{&one, &other}, kMicroBatches);
  ASSERT_EQ(one.failure_flag(), other.failure_flag());
  const OwnedTensor losses = filled_tensor(row_major({6}), std::nanf(""));
  guard->begin(false);
  EXPECT_EQ(*one.failure_flag(), 0u);
  raise_unless_finite(one, losses.tensor);
  one.stream().synchronize();
  EXPECT_EQ(*other.failure_flag(), 1u);
  guard->begin(true);
  EXPECT_EQ(*other.failure_flag(), 1u);
  guard->begin(false);
  EXPECT_EQ(*other.failure_flag(), 0u);
  guard.reset();
  EXPECT_EQ(one.failure_flag(), nullptr);
}

template <typename Loop>
void expect_training_behind_a_bad_evaluation(const PipelineOptions& options) {
  Job<Loop> undisturbed(options), job(options);
  undisturbed.train(3);
  job.train(2);
  const SmallBatch bad(kMicroBatches, 9);
  for (std::int64_t i = 0; i < bad.images.tensor.elements(); ++i) {
    bad.images.tensor.template as<float>()[i] = INFINITY;
  }
  const StepResult result = job.loop.run(bad.evaluation());
  EXPECT_FALSE(std::isfinite(result.losses.template as<float>()[0]));
  job.train(1, 2);
  EXPECT_EQ(job.weights(), undisturbed.weights());
}

TEST(StepGuard, ABadEvaluationDoesNotStopTraining) {
  const Schedule schedule = one_f_one_b_schedule(3, kMicroBatches);
  expect_training_behind_a_bad_evaluation<PlainLoop>(
      small_options(naive_schedule(1, kMicroBatches), {}));
  expect_training_behind_a_bad_evaluation<Pipeline>(small_options(schedule, {4, 9}));
}

}  // namespace
}  // namespace stagecoach
