// Trainings on these GPUs, and the times that they are split by.
#include <gtest/gtest.h>

#include "pipeline/profile.h"
#include "tests/cuda/engine_run.h"
#include "tests/ptx/on_gpu.h"

namespace stagecoach {
namespace {

using testing::gpu_config;
using testing::train_steps;

class PtxTraining : public ptx::testing::OnGpu {
 protected:
  ~PtxTraining() override {
    ptx::set_launch_delay(std::chrono::nanoseconds{0});
    ptx::count_time(false);
    ptx::check_races(false);
  }
};

TEST_F(PtxTraining, ATrainingTouchesItsGpuAlone) {
  ptx::forget_devices_touched();
  train_steps(gpu_config(1, Precision::kFp32, DeviceRequest::cuda({1})), 4);
  EXPECT_EQ(ptx::devices_touched(), std::set<int>{1});
}

// What the host takes to launch a graph is not in the times, which are counted here: a launch takes
// as long as 5000 pieces of work.
TEST_F(PtxTraining, LayersCostWhatTheyRun) {
  const Network network = testing::small_network(0.5f);
  const Target target(1, {DeviceType::kCuda, 0});
  const auto plans = network.plan(channels_last(2, 3, 16, 16), target);
  ptx::count_time(true);
  ptx::set_launch_delay(std::chrono::milliseconds(5));
  for (const double seconds : measure_layers(network, plans, target)) {
    EXPECT_GT(seconds, 0);
    EXPECT_LT(seconds, 0.005);
  }
}

// Launch by launch, and then by captured graphs, whose nodes run in parallel where no edge forbids.
TEST_F(PtxTraining, TwoGpusCopyFromEachOtherInOrderAndWithoutTheHost) {
  const auto expected = train_steps(gpu_config(0), 3);
  const long staged = ptx::staged_copies();
  ptx::check_races(true);
  EXPECT_EQ(train_steps(gpu_config(2, Precision::kFp32, DeviceRequest::cuda({0, 1})), 3), expected);
  EXPECT_EQ(ptx::staged_copies(), staged);
}

}  // namespace
}  // namespace stagecoach
