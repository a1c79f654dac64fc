// What train() does on GPUs, of a small network: AlexNet shows nothing more of it and takes minutes
// with a sanitizer.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/trainer/engine_run.h"
#include "tests/trainer/program_run.h"
#include "trainer/train.h"

namespace stagecoach {
namespace {

TrainRequest small_request() {
  TrainRequest request;
  request.device = DeviceRequest::cuda({0});
  request.data = DataKind::kSynthetic;
  request.image_size = 64;  // the smallest that resolve() takes, as it makes an AlexNet
  request.micro_batch_size = 2;
  request.micro_batches = 2;
  request.partition = {PartitionKind::kUniform, {}};
  request.max_train_samples = 40;
  request.max_test_samples = 3;
  request.quiet = true;
  return request;
}

RunReport train_small(const TrainRequest& request) {
  TrainRun run = resolve(request);
  run.network = testing::small_network(static_cast<float>(request.dropout));
  run.image_size = 16;
  run.job.sample = {3, 16, 16};
  return train(run).report.value();
}

// The test images are uploaded once, however often they are evaluated.
TEST(SimulatedTraining, EvaluatingTakesNoMemoryAnew) {
  TrainRequest request = small_request();
  request.steps = 4;
  const auto allocations = [&](std::int64_t eval_every) {
    request.eval_every = eval_every;
    const long before = simulated::device_allocations();
    EXPECT_EQ(train_small(request).test_samples, 3);
    return simulated::device_allocations() - before;
  };
  EXPECT_EQ(allocations(1), allocations(4));
}

constexpr std::size_t kSteps = 11;  // across the end of an epoch

// The lines of a metrics file, without the rate.
std::vector<nlohmann::json> metrics_of(bool eager) {
  const testing::ScratchFolder folder;
  TrainRequest request = small_request();
  request.eager = eager;
  request.steps = kSteps;
  request.eval_every = 4;
  request.metrics = folder.path() / "m.jsonl";
  EXPECT_EQ(train_small(request).launch, eager ? Launch::kEager : Launch::kGraph);
  std::istringstream lines(testing::content_of(request.metrics));
  std::vector<nlohmann::json> metrics;
  for (std::string line; std::getline(lines, line);) {
    metrics.push_back(nlohmann::json::parse(line));
    metrics.back().erase("images_per_second");
  }
  return metrics;
}

TEST(SimulatedTraining, MetricsOfOverlappingStepsAreThoseOfEagerSteps) {
  const auto ahead = metrics_of(false);
  ASSERT_EQ(ahead.size(), kSteps);
  for (std::size_t step = 1; step <= kSteps; ++step) {
    EXPECT_EQ(ahead[step - 1]["step"], step);
    EXPECT_EQ(ahead[step - 1].contains("test_accuracy"), step % 4 == 0 || step == kSteps);
  }
  EXPECT_EQ(ahead, metrics_of(true));
}

// Steps are in flight when a checkpoint is due, and the state lies on the GPU.
TEST(SimulatedTraining, GoesOnFromACheckpointWithTheSameBits) {
  const testing::ScratchFolder scratch;
  const auto train_to = [&](std::int64_t steps, const char* folder, int stages) {
    TrainRequest request = small_request();
    request.stages = stages;
    request.steps = steps;
    request.checkpoint_dir = scratch.path() / folder;
    request.checkpoint_every = CheckpointInterval{2, 0};
    request.keep = 100;
    request.resume = true;
    EXPECT_EQ(train_small(request).planned_steps, steps);
  };
  const auto state = [&](const char* folder, int step) {
    const auto path = scratch.path() / folder / fmt::format("step-{:08}", step);
    return testing::content_of(path / "weights.safetensors") +
           testing::content_of(path / "optimizer.safetensors");
  };
  train_to(7, "never", 2);
  train_to(3, "stops", 1);
  train_to(7, "stops", 2);
  EXPECT_GT(state("never", 7).size(), 1000u);
  EXPECT_TRUE(state("never", 7) == state("stops", 7));
}

}  // namespace
}  // namespace stagecoach
