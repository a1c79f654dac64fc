// Where the optimizer runs beside W of other layers: a pipeline on GPUs trains as the plain loop
// does then, too.
#include "pipeline/pipeline.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/device_backend.h"
#include "core/error.h"
#include "tests/kernels/checks.h"
#include "tests/nccl/gpu_process_job.h"

namespace stagecoach {
namespace {

using testing::GpuCase;
using testing::GpuProcessJob;
using testing::options_of;
using testing::SmallBatch;

PipelineOptions beside(GpuCase c) {
  c.overlaps_sum = true;
  return options_of(c, nullptr);
}

void expect_bits_of_the_plain_loop(const GpuCase& c, PipelineOptions options) {
  const testing::Outcome expected = testing::plain_gpu_outcome(c);
  for (const bool eager : {true, false}) {
    options.eager = eager;
    GpuProcessJob<Pipeline> job(options);
    job.train(testing::kGpuSteps);
    job.evaluate();
    job.note_weights();
    EXPECT_EQ(job.outcome, expected) << c.text() << (eager ? ", eager" : "");
    for (const StageSummary& stage : job.loop.summaries()) {
      EXPECT_EQ(stage.planned_bytes, stage.peak_bytes) << c.text();
    }
  }
}

TEST(PipelineShim, SameBitsWhereTheOptimizerRunsBesideW) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    for (GpuCase c : {GpuCase{"naive", {}}, GpuCase{"1f1b", {6}}, GpuCase{"zb-h1", {2, 5, 9}},
                      GpuCase{"interleaved", {2, 5, 9}, 1, 2}, GpuCase{"zb-v", {2, 5, 9}, 1, 2}}) {
      c.precision = precision;
      expect_bits_of_the_plain_loop(c, beside(c));
    }
  }
}

TEST(PipelineShim, SameBitsBesideWWithAdamAndRecomputation) {
  GpuCase c{"1f1b", {6}};
  c.optimizer = testing::small_adam();
  c.recompute = Recompute::kAlways;
  PipelineOptions options = beside(c);
  expect_bits_of_the_plain_loop(c, options);
  options.recompute_interval = 2;
  expect_bits_of_the_plain_loop(c, options);
}

TEST(PipelineShim, SameBitsBesideWOnSeveralGpus) {
  if (device_backend(DeviceType::kCuda).device_count(nullptr) < 2) GTEST_SKIP() << "one GPU";
  const GpuCase c{"zb-h1", {6}};
  PipelineOptions options = beside(c);
  options.devices = {{DeviceType::kCuda, 0}, {DeviceType::kCuda, 1}};
  expect_bits_of_the_plain_loop(c, options);
}

// Before the host enqueues the last W of the first layer, it waits for the ends of the updates that
// are enqueued, so that they come before that W's.
TEST(PipelineShim, ParametersAreUpdatedBesideWOfTheLayersBefore) {
  TrainingLoop* loop = nullptr;
  const auto wait = [&loop](Context&, ActionKind kind, std::int64_t micro_batch) {
    const bool last = micro_batch == GpuCase::kMicroBatches - 1;
    if (kind == ActionKind::kBackwardWeight && last) loop->trace({}, 0);
  };
  GpuCase c{"naive", {}};
  c.eager = true;
  GpuProcessJob<Pipeline> job(beside(c), testing::hooked_network(0, wait));
  loop = &job.loop;
  job.train(1);
  double end_of_weights = 0;
  std::vector<double> ends;  // of updates
  for (const TraceEvent& event : job.loop.trace({}, 0)) {
    EXPECT_EQ(event.beside, event.kind == TraceKind::kOptimizer);
    if (event.kind == TraceKind::kBackwardWeight) end_of_weights = event.end;
    if (event.kind == TraceKind::kOptimizer) ends.push_back(event.end);
  }
  ASSERT_EQ(ends.size(), 4u);  // buckets of a layer each
  for (std::size_t i = 0; i < 3; ++i) EXPECT_LT(ends[i], end_of_weights) << i;
}

TEST(PipelineShim, ALossThatIsNotFiniteChangesNothingBesideW) {
  for (const GpuCase& c :
       {GpuCase{"naive", {}}, GpuCase{"1f1b", {6}}, GpuCase{"zb-h1", {2, 5, 9}}}) {
    GpuProcessJob<Pipeline> job(beside(c));
    job.train(4);
    job.note_weights();
    const auto before = job.outcome.weights;
    for (const int micro_batch : {0, GpuCase::kMicroBatches - 1}) {
      SmallBatch bad(GpuCase::kMicroBatches, 3);
      const Tensor images = bad.images.tensor;
      const std::int64_t row = images.elements() / GpuCase::kMicroBatches * micro_batch;
      images.as<float>()[row] = std::numeric_limits<float>::infinity();
      job.launch(4, bad);
      job.launch(5, SmallBatch(GpuCase::kMicroBatches, 5));
      const std::string where = fmt::format("micro-batch {}", micro_batch);
      testing::expect_error([&] { job.loop.finish(); },
                            {"training step 5: expected a finite loss", where.c_str()});
      job.note_weights();
      EXPECT_EQ(job.outcome.weights, before) << c.text();
    }
    job.train(2);
    job.note_weights();
    EXPECT_NE(job.outcome.weights, before) << c.text();
  }
}

TEST(PipelineShim, NothingRunsBesideWWhereGradientsAreClipped) {
  PipelineOptions options = beside({"1f1b", {6}});
  options.clip_norm = 1;
  GpuProcessJob<Pipeline> job(options);
  job.train(1);
  for (const TraceEvent& event : job.loop.trace({}, 0)) EXPECT_FALSE(event.beside);
}

}  // namespace
}  // namespace stagecoach
