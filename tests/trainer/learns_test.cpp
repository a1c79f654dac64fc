// That training works: AlexNet learns to tell shapes and textures apart that it has not seen.
#include <gtest/gtest.h>

#include "trainer/train.h"

namespace stagecoach {
namespace {

// 160 steps of 32 images with this seed reached 48.0 % on 500 test images; with the seeds 1, 2 and
// 3 it was 42.6, 39.6 and 42.0 %. Chance is 10 %, give or take 1.3 %. Instructions and libraries
// change the last bits of every step, so another machine is another seed: 30 % leaves a margin.
TEST(Learns, SyntheticImagesWellAboveChance) {
#ifdef STAGECOACH_SANITIZED
  GTEST_SKIP() << "too slow with a sanitizer";
#endif
  TrainRequest config;
  config.device = DeviceRequest::cpu();
  config.data = DataKind::kSynthetic;
  config.image_size = 64;
  config.micro_batch_size = 16;
  config.micro_batches = 2;
  config.steps = 160;
  config.eval_every = *config.steps;
  config.max_test_samples = 500;
  config.optimizer = OptimizerKind::kAdam;
  config.learning_rate = 3e-4;
  config.weight_decay = 0.0005;
  config.quiet = true;
  const TrainOutcome outcome = train(resolve(config));
  ASSERT_TRUE(outcome.report && outcome.failures.empty());
  const RunReport& report = *outcome.report;
  EXPECT_NEAR(report.loss_first, 2.303, 0.1);
  EXPECT_LT(report.loss_last, 2);
  ASSERT_TRUE(report.accuracy.has_value());
  EXPECT_GT(*report.accuracy, 0.3);
  EXPECT_EQ(report.test_samples, 500);
}

}  // namespace
}  // namespace stagecoach
