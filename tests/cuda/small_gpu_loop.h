// A small network in a loop on a GPU that has captured its steps.
#pragma once

#include <cmath>
#include <deque>
#include <vector>

#include "pipeline/plain_loop.h"
#include "pipeline/schedule/generators.h"
#include "tests/cuda/both.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach::testing {

inline constexpr int kMicroBatches = 2;

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

struct SmallGpuLoop {
  SmallGpuLoop()
      : network_(small_network()),
        options_(options()),
        loop_(network_, network_.plan(small_input(), options_.target), options_) {
    loop_.stages()[0]->initialize(kSeed);
    stream().synchronize();
    SmallBatch bad(kMicroBatches, 9);
    for (std::int64_t i = 0; i < bad.images.tensor.elements(); ++i) {
      bad.images.tensor.as<float>()[i] = INFINITY;
    }
    for (const std::uint64_t seed : {0, 1}) {
      good_.emplace_back(stream(), SmallBatch(kMicroBatches, seed));
      bad_.emplace_back(stream(), bad);
    }
    for (; step_ < 4; ++step_)
      loop_.run(training(good_[step_ % 2], step_));  // captured, from now on
  }

  static PipelineOptions options() {
    PipelineOptions options = small_options(naive_schedule(1, kMicroBatches), {});
    options.target = Target(1, kGpu);
    return options;
  }
  Stream& stream() { return loop_.stages()[0]->context().stream(); }
  StepInput training(const GpuBatch& batch) const { return training(batch, step_); }
  StepInput training(const GpuBatch& batch, std::int64_t step) const {
    StepInput input;
    input.images = batch.images.tensor;
    input.targets = batch.labels.tensor;
    input.micro.seed = kSeed;
    input.micro.step = step;
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
      all.push_back(bytes_of(to_host(stream(), p.value).tensor));
    }
    return all;
  }

  Network network_;
  PipelineOptions options_;
  PlainLoop loop_;
  std::deque<GpuBatch> good_, bad_;
  std::int64_t step_ = 0;
};

}  // namespace stagecoach::testing
