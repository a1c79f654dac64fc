#include "trainer/learning_rate_request.h"

#include <gtest/gtest.h>

#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using enum LearningRateKind;
using testing::expect_error;

TEST(LearningRateRequest, LengthsAreStepsOrEpochs) {
  EXPECT_EQ((Duration{7, 0}.in_steps(100)), 7);
  EXPECT_EQ((Duration{0, 2.5}.in_steps(100)), 250);
  EXPECT_EQ((Duration{0, 0.333}.in_steps(100)), 33);
  LearningRateRequest request;
  request.kind = kMilestones;
  request.milestones = {{50, 0}, {0, 1.5}};
  request.gamma = 0.5;
  request.warmup = {0, 0.1};
  const LearningRate rate = learning_rate_of(request, 0.05, 1000, 100);
  EXPECT_EQ(rate.rate, 0.05);
  EXPECT_EQ(rate.milestones, (std::vector<std::int64_t>{50, 150}));
  EXPECT_EQ(rate.gamma, 0.5);
  EXPECT_EQ(rate.warmup, 10);
  LearningRateRequest steps;
  steps.kind = kStep;
  steps.step_size = Duration{0, 0.001};
  EXPECT_EQ(learning_rate_of(steps, 1, 1000, 100).step_size, 1);  // not 0
}

TEST(LearningRateRequest, ACosineEndsWithTheTraining) {
  LearningRateRequest request;
  request.kind = kCosine;
  request.warmup = {10, 0};
  request.min_rate = 0.01;
  const LearningRate rate = learning_rate_of(request, 0.05, 1000, 100);
  EXPECT_EQ(rate.end, 1000);
  EXPECT_EQ(rate.min_rate, 0.01);
  expect_error([&] { learning_rate_of(request, 0.05, 10, 100); },
               {"--lr-warmup below the 10 steps of the cosine", "10 steps"});
}

TEST(LearningRateRequest, RefusesWhatDoesNotBelong) {
  const auto error = [](LearningRateKind kind, const auto& change,
                        std::initializer_list<const char*> parts) {
    LearningRateRequest request;
    request.kind = kind;
    change(request);
    expect_error([&] { check_learning_rate(request, 0.1); }, parts);
  };
  using R = LearningRateRequest;
  error(kStep, [](R&) {}, {"--lr-step-size with --lr-schedule step", "none"});
  error(kMilestones, [](R&) {}, {"--lr-milestones with --lr-schedule milestones", "none"});
  error(kCosine, [](R& r) { r.gamma = 0.5; }, {"--lr-gamma with --lr-schedule step", "cosine"});
  error(kConstant, [](R& r) { r.min_rate = 0; }, {"--lr-min with --lr-schedule cosine"});
  error(kConstant, [](R& r) { r.milestones = {{1, 0}}; }, {"--lr-milestones with"});
  error(kCosine, [](R& r) { r.step_size = Duration{1, 0}; }, {"--lr-step-size with"});
  error(kCosine, [](R& r) { r.min_rate = 0.2; }, {"--lr-min of at least 0 and at most 0.1", "0.2"});
  error(kStep, [](R& r) { r.step_size = Duration{1, 0}, r.gamma = 1.5; }, {"--lr-gamma", "1.5"});
  R descending;
  descending.kind = kMilestones;
  descending.milestones = {{0, 1}, {100, 0}};  // the same step
  expect_error([&] { learning_rate_of(descending, 0.1, 1000, 100); },
               {"--lr-milestones that ascend", "100, 100"});
}

}  // namespace
}  // namespace stagecoach
