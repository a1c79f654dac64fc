// A pipeline whose optimizer runs beside W of other layers, on these GPUs.
#include "pipeline/pipeline.h"

#include <gtest/gtest.h>

#include "tests/nccl/gpu_process_job.h"
#include "tests/ptx/on_gpu.h"

namespace stagecoach {
namespace {

class PtxPipeline : public ptx::testing::OnGpu {
 protected:
  ~PtxPipeline() override { ptx::check_races(false); }
};

// Of one stage, and of two on a GPU each.
TEST_F(PtxPipeline, TheOptimizerRunsBesideWInOrder) {
  for (const std::vector<int>& cuts : {std::vector<int>{}, {6}}) {
    testing::GpuCase c{"1f1b", cuts};
    const testing::Outcome expected = testing::plain_gpu_outcome(c);
    c.overlaps_sum = true;
    PipelineOptions options = testing::options_of(c, nullptr);
    for (int rank = 0; rank < c.ranks(); ++rank) {
      options.devices.push_back({DeviceType::kCuda, rank});
    }
    ptx::check_races(true);
    testing::GpuProcessJob<Pipeline> job(options);
    job.train(testing::kGpuSteps);
    ptx::check_races(false);
    job.evaluate();
    job.note_weights();
    EXPECT_EQ(job.outcome, expected) << c.text();
  }
}

}  // namespace
}  // namespace stagecoach
