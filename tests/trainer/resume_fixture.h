// A training of milliseconds that stops and goes on, and how its parts are laid out.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "comm/world.h"
#include "tests/pipeline/small_job.h"
#include "tests/trainer/program_run.h"
#include "trainer/train.h"

namespace stagecoach::testing {

namespace fs = std::filesystem;

inline constexpr std::int64_t kBatch = 8;

// How a part of a training is laid out.
struct Layout {
  int stages;
  const char* schedule;
  int micro_batches;
  const char* cut = "";  // the default split: uniform
  Recompute recompute = Recompute::kNever;
  int threads = 1;
  int replicas = 1;
  int zero = 0;
  bool overlap = false;
};

class ResumeTest : public ::testing::Test {
 protected:
  TrainRequest request(const Layout& layout, std::int64_t steps,
                       const fs::path& checkpoints) const {
    TrainRequest request;
    request.device = DeviceRequest::cpu();
    request.data = DataKind::kSynthetic;
    request.max_train_samples = 3 * kBatch + 2;  // stops in the middle of an epoch
    request.max_test_samples = 4;
    request.random_crop = request.random_flip = true;
    request.optimizer = optimizer_;
    if (recipe_) {
      request.learning_rate_schedule.kind = LearningRateKind::kMilestones;
      request.learning_rate_schedule.milestones = {{1, 0}, {0, 1}};
      request.learning_rate_schedule.warmup = {3, 0};
      request.clip_grad_norm = 0.25;
      request.init_scheme = InitScheme::kKaiming;
      request.last_batch = LastBatch::kKeep;
    }
    request.stages = layout.stages;
    request.schedule = layout.schedule;
    request.micro_batches = layout.micro_batches;
    request.replicas = layout.replicas;
    request.zero = layout.zero;
    request.overlap = layout.overlap;
    request.gradient_groups = groups_;
    request.micro_batch_size = kBatch / layout.micro_batches / layout.replicas;
    request.partition = *layout.cut == 0 ? PartitionRequest{PartitionKind::kUniform, {}}
                                         : PartitionRequest::at({*layout.cut - '0'});
    request.recompute = layout.recompute;
    request.threads = layout.threads;
    request.steps = steps;
    request.checkpoint_dir = checkpoints;
    if (!checkpoints.empty()) request.checkpoint_every = CheckpointInterval{1000, 0};
    request.resume = !checkpoints.empty();
    request.quiet = true;
    return request;
  }
  // `world`: where the ranks are processes, this one's.
  static TrainOutcome run(TrainRequest request, World* world = nullptr,
                          const CalibrationOptions& calibration = {}) {
    if (world != nullptr)
      request.process = {"a test", world->rank(), world->size(), {"forked"}, ""};
    TrainRun run = resolve(request);
    run.job.world = world;
    run.calibration = calibration;
    run.network = small_network();
    run.image_size = 16;
    run.job.sample = {3, 16, 16};
    return train(run);
  }
  static void expect_ends_well(const TrainRequest& request, World* world = nullptr) {
    const TrainOutcome outcome = run(request, world);
    EXPECT_TRUE(outcome.failures.empty()) << outcome.failures.front();
    EXPECT_EQ(outcome.signal, 0);
  }
  std::string weights_of(const fs::path& checkpoints, int step) const {
    const fs::path folder = checkpoints / fmt::format("step-{:08}", step);
    return content_of(folder / "weights.safetensors") +
           content_of(folder / "optimizer.safetensors");
  }

  OptimizerKind optimizer_ = OptimizerKind::kSgd;
  bool recipe_ = false;
  std::optional<int> groups_;  // clipping, a smaller last batch, rates that change
  const ScratchFolder scratch_;
};

}  // namespace stagecoach::testing
