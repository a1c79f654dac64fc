// train() with a process for each rank, each on a simulated GPU: what it writes is what one process
// writes that trains on one.
#include <gtest/gtest.h>
#include <nccl.h>

#include "core/error.h"
#include "tests/forked/forked_world.h"
#include "tests/scratch_folder.h"
#include "tests/trainer/engine_run.h"
#include "tests/trainer/program_run.h"
#include "trainer/train.h"

namespace stagecoach {
namespace {

using testing::run_forked;

class TrainProcessesNccl : public ::testing::Test {
 protected:
  // Of 4 images and 4 groups a step, on `stages` ranks and as many replicas as are left.
  TrainRequest request(int stages, int processes, std::int64_t steps) const {
    TrainRequest request;
    request.device = DeviceRequest::cuda();
    request.data = DataKind::kSynthetic;
    request.image_size = 64;  // the smallest that resolve() takes, as it makes an AlexNet
    request.stages = stages;
    request.process.processes = processes;
    request.process.mpis = {"a test's"};
    request.micro_batch_size = 2;
    request.micro_batches = 4 * stages / processes;
    request.gradient_groups = 4;
    request.partition = {PartitionKind::kUniform, {}};
    request.max_train_samples = 40;
    request.max_test_samples = 3;
    request.steps = steps;
    request.quiet = true;
    return request;
  }

  static TrainOutcome train_small(const TrainRequest& request, World* world = nullptr) {
    TrainRun run = resolve(request);
    run.network = testing::small_network(static_cast<float>(request.dropout));
    run.image_size = 16;
    run.job.sample = {3, 16, 16};
    run.job.world = world;
    return train(run);
  }

  void train_processes(int stages, int processes, const TrainRequest& wanted) const {
    const auto body = [&](World& world) {
      const TrainOutcome outcome = train_small(wanted, &world);
      EXPECT_TRUE(outcome.failures.empty());
      ASSERT_TRUE(outcome.report);
      EXPECT_EQ(outcome.report->device,
                fmt::format("cuda, a GPU for each of {} processes (Simulated GPU)", processes));
      EXPECT_EQ(outcome.report->launch, Launch::kGraph);
      EXPECT_EQ(outcome.report->memory.size(),
                static_cast<std::size_t>(world.rank() == 0 ? stages : 0));
      EXPECT_EQ(simulated::nccl_faults(), 0);
    };
    EXPECT_EQ(run_forked(processes, body), std::vector<int>(static_cast<std::size_t>(processes)));
  }

  const testing::ScratchFolder scratch_;
};

// In a process of its own, as whoever forks has no threads.
void alone(const std::function<void()>& body) {
  EXPECT_EQ(run_forked(1, [&](World&) { body(); }), std::vector<int>{0});
}

TEST_F(TrainProcessesNccl, SaveWhatOneProcessSaves) {
  TrainRequest one = request(1, 1, 7);
  one.eval_every = 3;
  one.save = scratch_.path() / "one";
  alone([&] { train_small(one); });
  const std::string expected = testing::content_of(one.save);
  EXPECT_GT(expected.size(), 1000U);
  for (const auto& [stages, processes] : {std::pair{2, 2}, {1, 2}}) {
    TrainRequest several = request(stages, processes, 7);
    several.eval_every = 3;
    several.save = scratch_.path() / fmt::format("{} of {}", stages, processes);
    several.report = several.save.string() + ".json";
    train_processes(stages, processes, several);
    EXPECT_TRUE(testing::content_of(several.save) == expected) << several.save;
  }
}

TEST_F(TrainProcessesNccl, GoOnFromEachOther) {
  const auto with_folder = [&](TrainRequest wanted, const char* folder) {
    wanted.checkpoint_dir = scratch_.path() / folder;
    wanted.checkpoint_every = CheckpointInterval{2, 0};
    wanted.resume = true;
    return wanted;
  };
  alone([&] { train_small(with_folder(request(1, 1, 6), "never")); });
  train_processes(2, 2, with_folder(request(2, 2, 3), "stops"));
  train_processes(1, 2, with_folder(request(1, 2, 5), "stops"));
  alone([&] { train_small(with_folder(request(1, 1, 6), "stops")); });
  const auto weights = [&](const char* folder) {
    return testing::content_of(scratch_.path() / folder / "step-00000006" / "weights.safetensors");
  };
  EXPECT_GT(weights("never").size(), 1000U);
  EXPECT_TRUE(weights("never") == weights("stops"));
}

TEST_F(TrainProcessesNccl, RefuseMoreProcessesThanGpus) {
  const auto body = [&](World& world) {
    try {
      train_small(request(3, 3, 1), &world);
      ADD_FAILURE() << "trained on two GPUs";
    } catch (const UsageError& error) {
      testing::expect_has(error.what(), "a GPU for each of 3 processes");
    }
  };
  EXPECT_EQ(run_forked(3, body), std::vector<int>(3));
}

}  // namespace
}  // namespace stagecoach
