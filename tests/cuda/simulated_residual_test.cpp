// A residual network on two GPUs: what is handed on from one to the other is copied on the way.
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/cuda/both.h"
#include "tests/pipeline/residual_job.h"

namespace stagecoach {
namespace {

using testing::residual_network;
using testing::residual_options;
using testing::ResidualOutcome;
using testing::trained_by;

TEST(SimulatedResidual, TwoGpusGiveTheBitsOfOne) {
  PipelineOptions plain = testing::plain_options(4);
  plain.target = Target(1, testing::kGpu);
  const ResidualOutcome expected = trained_by(plain, residual_network());
  const Device first{DeviceType::kCuda, 0}, second{DeviceType::kCuda, 1};
  const std::vector<std::vector<Device>> placements = {{first, first, second, second},
                                                       {first, second, first, second},
                                                       {first, second, second, first}};
  int turn = 0;  // of four: with and without recomputation, as graphs and launch by launch
  for (const std::string& name : schedule_names()) {
    for (const std::vector<Device>& devices : placements) {
      const Recompute recompute = turn % 2 == 0 ? Recompute::kNever : Recompute::kAlways;
      const bool eager = turn++ / 2 % 2 == 1;
      Schedule schedule;
      try {
        schedule = with_recompute(make_schedule(name, 4, 4), recompute);
      } catch (const UsageError&) {  // not with so few micro-batches
        continue;
      }
      PipelineOptions options = residual_options(schedule);
      options.target = plain.target;
      options.devices = devices;
      options.eager = eager;
      ASSERT_EQ(trained_by(options, residual_network()), expected) << name << eager;
    }
  }
}

}  // namespace
}  // namespace stagecoach
