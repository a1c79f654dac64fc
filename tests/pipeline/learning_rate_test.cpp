#include "pipeline/learning_rate.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

using enum LearningRateKind;

LearningRate rate_of(LearningRateKind kind) {
  LearningRate rate = 0.05;
  rate.kind = kind;
  return rate;
}

void expect_rates(const LearningRate& rate, const std::vector<double>& expected) {
  for (std::size_t step = 0; step < expected.size(); ++step) {
    EXPECT_FLOAT_EQ(rate.at(static_cast<std::int64_t>(step)), static_cast<float>(expected[step]))
        << rate.schedule_text() << ", step " << step;
  }
}

TEST(LearningRate, ANumberIsAConstantOne) {
  const LearningRate rate = 0.1f;
  EXPECT_EQ(rate.at(0), 0.1f);
  EXPECT_EQ(rate.at(1'000'000'000'000), 0.1f);
  EXPECT_EQ(rate.schedule_text(), "constant");
}

// Numbers of torch.optim.lr_scheduler, PyTorch 2.15.0.
TEST(LearningRate, AgreesWithPyTorch) {
  LearningRate steps = rate_of(kStep);
  steps.step_size = 3;
  steps.gamma = 0.5;
  expect_rates(steps, {0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125, 0.0125});
  EXPECT_EQ(steps.schedule_text(), "times 0.5 every 3 steps");
  LearningRate milestones = rate_of(kMilestones);
  milestones.milestones = {2, 5};
  expect_rates(milestones, {0.05, 0.05, 0.005, 0.005, 0.005, 0.0005, 0.0005});
  EXPECT_EQ(milestones.schedule_text(), "times 0.1 at step 2, 5");
  LearningRate cosine = rate_of(kCosine);
  cosine.end = 10;
  cosine.min_rate = 0.001;
  expect_rates(cosine, {0.05, 0.04880088464923127, 0.045320916362186214, 0.039900738681165594,
                        0.03307091636218621, 0.0255, 0.01792908363781379, 0.01109926131883441,
                        0.005679083637813789, 0.0021991153507687385, 0.001, 0.001});
  EXPECT_EQ(cosine.schedule_text(), "cosine to 0.001 at step 10");
}

TEST(LearningRate, WarmsUpInALine) {
  LearningRate constant = rate_of(kConstant);
  constant.warmup = 4;
  expect_rates(constant, {0.0125, 0.025, 0.0375, 0.05, 0.05});
  EXPECT_EQ(constant.schedule_text(), "constant, 4 steps of warm-up");
  // The cosine begins where the line ends; decays count from the first step of all.
  LearningRate cosine = rate_of(kCosine);
  cosine.warmup = 2;
  cosine.end = 12;
  expect_rates(cosine, {0.025, 0.05, 0.05, 0.048776412907378844});
  LearningRate steps = rate_of(kStep);
  steps.warmup = 2;
  steps.step_size = 3;
  expect_rates(steps, {0.025, 0.05, 0.05, 0.005});
}

// To the last bit, on every machine.
TEST(LearningRate, HasTheBitsWrittenHere) {
  LearningRate cosine = rate_of(kCosine);
  cosine.end = 3910;
  EXPECT_EQ(cosine.at(1), 0x1.999996p-5f);
  EXPECT_EQ(cosine.at(1000), 0x1.5af954p-5f);
  EXPECT_EQ(cosine.at(3909), 0x1.1545a4p-27f);
}

}  // namespace
}  // namespace stagecoach
