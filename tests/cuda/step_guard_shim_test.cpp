// The rule for losses that are not finite, where steps are launched before others are finished.
#include "pipeline/step_guard.h"

#include <gtest/gtest.h>

#include <cmath>

#include "pipeline/plain_loop.h"
#include "pipeline/schedule/generators.h"
#include "tests/cuda/both.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::Bytes;
using testing::kGpu;
using testing::SmallBatch;

constexpr int kMicroBatches = 2;

// A batch on the GPU.
struct GpuBatch {
  GpuBatch(Stream& stream, const SmallBatch& host)
      : images(host.images.tensor.spec, kGpu), labels(host.labels.tensor.spec, kGpu) {
    copy(stream, images.tensor, host.images.tensor);
    copy(stream, labels.tensor, host.labels.tensor);
    stream.synchronize();
  }
  OwnedTensor images, labels;
};

class StepGuardShim : public ::testing::Test {
 protected:
  StepGuardShim()
      : network_(testing::small_network()),
        options_(options()),
        loop_(network_, network_.plan(testing::small_input(), options_.target), options_) {
    loop_.stages()[0]->initialize(testing::kSeed);
    stream().synchronize();
    SmallBatch bad(kMicroBatches, 9);
    for (std::int64_t i = 0; i < bad.images.tensor.elements(); ++i) {
      bad.images.tensor.as<float>()[i] = INFINITY;
    }
    for (const std::uint64_t seed : {0, 1}) {
      good_.emplace_back(stream(), SmallBatch(kMicroBatches, seed));
      bad_.emplace_back(stream(), bad);
    }
    for (; step_ < 4; ++step_) loop_.run(training(good_[step_ % 2]));  // captured, from now on
  }

  static PipelineOptions options() {
    PipelineOptions options = testing::small_options(naive_schedule(1, kMicroBatches), {});
    options.target = Target(1, kGpu);
    return options;
  }
  Stream& stream() { return loop_.stages()[0]->context().stream(); }
  StepInput training(const GpuBatch& batch) const {
    StepInput input;
    input.images = batch.images.tensor;
    input.labels = batch.labels.tensor;
    input.micro.seed = testing::kSeed;
    input.micro.step = step_;
    input.optimizer = options_.optimizer.get();
    return input;
  }
  StepInput evaluation(const GpuBatch& batch) const {
    StepInput input = training(batch);
    input.micro.training = false;
    input.optimizer = nullptr;
    return input;
  }
  std::vector<Bytes> weights() {
    std::vector<Bytes> all;
    for (const Stage::Parameter& p : loop_.stages()[0]->parameters()) {
      all.push_back(testing::bytes_of(to_host(stream(), p.value).tensor));
    }
    return all;
  }

  Network network_;
  PipelineOptions options_;
  PlainLoop loop_;
  std::deque<GpuBatch> good_, bad_;
  std::int64_t step_ = 0;
};

TEST_F(StepGuardShim, ATrainingStepBehindABadEvaluationTrains) {
  ASSERT_EQ(loop_.max_in_flight(), 2);
  const std::vector<Bytes> before = weights();
  loop_.launch(evaluation(bad_[0]));
  loop_.launch(training(good_[0]));
  EXPECT_FALSE(std::isfinite(loop_.finish().losses.as<float>()[0]));
  EXPECT_TRUE(std::isfinite(loop_.finish().losses.as<float>()[0]));
  EXPECT_NE(weights(), before);
}

TEST_F(StepGuardShim, AStepBehindABadTrainingStepIsDropped) {
  const std::vector<Bytes> before = weights();
  loop_.launch(training(bad_[0]));
  loop_.launch(training(good_[0]));
  EXPECT_THROW(loop_.finish(), NumericError);
  EXPECT_EQ(weights(), before);
  EXPECT_NO_THROW(loop_.run(training(good_[0])));
  EXPECT_NE(weights(), before);
}

TEST_F(StepGuardShim, ABadTrainingStepIsNamedBehindAnEvaluation) {
  const std::vector<Bytes> before = weights();
  loop_.launch(evaluation(bad_[0]));
  loop_.launch(training(bad_[1]));
  EXPECT_NO_THROW(loop_.finish());
  EXPECT_THROW(loop_.finish(), NumericError);
  EXPECT_EQ(weights(), before);
}

}  // namespace
}  // namespace stagecoach
