// A small job on GPUs: of one process, or simulated ones of a process each with NCCL between them;
// and what the plain loop makes of it on one GPU.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "core/bfloat16.h"
#include "core/copy.h"
#include "pipeline/plain_loop.h"
#include "pipeline/process_pipeline.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach::testing {

// What is cut, into what; of 8 micro-batches in all.
struct GpuCase {
  const char* schedule = "1f1b";
  std::vector<int> cuts;
  int replicas = 1, chunks = 1;
  bool eager = false;
  Recompute recompute = Recompute::kNever;
  bool shards_optimizer = false, overlaps_sum = false, unordered_sum = false;
  double clip_norm = 0;
  OptimizerPointer optimizer = small_sgd();
  Precision precision = Precision::kFp32;

  static constexpr int kMicroBatches = 8;
  int ranks() const { return (static_cast<int>(cuts.size()) + 1) / chunks; }
  std::string text() const {
    return fmt::format("{}, {} stages, {} ranks, {} replicas{}", schedule, cuts.size() + 1, ranks(),
                       replicas, eager ? ", eager" : "") +
           (overlaps_sum ? ", beside W" : "") + (shards_optimizer ? ", sharded" : "");
  }
};

inline PipelineOptions options_of(const GpuCase& c, World* world) {
  Schedule schedule =
      make_schedule(c.schedule, c.ranks(), GpuCase::kMicroBatches / c.replicas, c.chunks);
  schedule = with_recompute(schedule, c.recompute);
  PipelineOptions options = small_options(schedule, c.cuts, 1, c.optimizer);
  options.target = Target(1, {DeviceType::kCuda, world == nullptr ? 0 : world->rank() % 2});
  options.target.precision = c.precision;
  options.eager = c.eager;
  options.loss_rows *= c.replicas;
  options.replicas = c.replicas;
  options.gradient_groups = 4;
  options.shards_optimizer = c.shards_optimizer;
  options.overlaps_update = c.overlaps_sum;
  options.unordered_sum = c.unordered_sum;
  options.clip_norm = c.clip_norm;
  options.bucket_bytes = 1;
  options.world = world;
  return options;
}

// The batches of such a job, in two places of the GPU's memory as a loader's.
class GpuBatches {
 public:
  GpuBatches(Device device, DType dtype)
      : stream_(Stream::create(device)), device_(device), dtype_(dtype) {}

  StepInput input(std::int64_t step, const Optimizer* optimizer, const SmallBatch& host) {
    if (step >= std::ssize(places_) && places_.size() < 2) {
      TensorSpec images = host.images.tensor.spec;
      images.dtype = dtype_;
      places_.push_back(
          {OwnedTensor(images, device_), OwnedTensor(host.labels.tensor.spec, device_)});
    }
    Place& place = places_[static_cast<std::size_t>(step) % places_.size()];
    StepInput input = host.input(step, optimizer);
    copy(*stream_, place.images.tensor, as_activations(host.images.tensor));
    copy(*stream_, place.labels.tensor, host.labels.tensor);
    stream_->synchronize();
    input.images = place.images.tensor;
    input.targets = place.labels.tensor;
    return input;
  }

 private:
  struct Place {
    OwnedTensor images, labels;
  };
  Tensor as_activations(const Tensor& images) {
    if (dtype_ == DType::kF32) return images;
    TensorSpec spec = images.spec;
    spec.dtype = dtype_;
    OwnedTensor& rounded = rounded_.emplace_back(spec);
    for (std::int64_t i = 0; i < spec.elements(); ++i) {
      rounded.tensor.as<BFloat16>()[i] = BFloat16(images.as<float>()[i]);
    }
    return rounded.tensor;
  }

  std::unique_ptr<Stream> stream_;
  Device device_;
  DType dtype_;
  std::deque<Place> places_;
  std::deque<OwnedTensor> rounded_;
};

struct GpuOutcome : Outcome {
  std::vector<double> norms;  // of the gradients, per step of training; 0 where nothing is clipped
  bool operator==(const GpuOutcome&) const = default;
};

template <typename Loop>
struct GpuProcessJob {
  explicit GpuProcessJob(const PipelineOptions& of, Network net = small_network())
      : options(of),
        network(std::move(net)),
        batches(of.target.device,
                of.target.precision == Precision::kBf16 ? DType::kBF16 : DType::kF32),
        loop(network, network.plan(input_spec(), options.target), options) {
    loop.initialize(kSeed);
  }

  TensorSpec input_spec() const {
    TensorSpec spec = small_input();
    if (options.target.precision == Precision::kBf16) spec.dtype = DType::kBF16;
    return spec;
  }
  void launch(std::int64_t step, const SmallBatch& batch) {
    loop.launch(batches.input(step, options.optimizer.get(), batch));
  }
  void finish() {
    const StepResult result = loop.finish();
    outcome.losses.push_back(bytes_of(result.losses));
    outcome.correct.push_back(bytes_of(result.correct));
  }
  // As many steps at a time as there may be.
  void train(int steps) {
    int launched = 0;
    for (int done = 0; done < steps; ++done) {
      while (launched < std::min(steps, done + loop.max_in_flight())) {
        launch(launched, SmallBatch(GpuCase::kMicroBatches, static_cast<std::uint64_t>(launched)));
        ++launched;
      }
      finish();
      outcome.norms.push_back(loop.gradient_norm(done).value_or(0));
    }
  }
  void evaluate() {
    StepInput input = batches.input(0, nullptr, SmallBatch(GpuCase::kMicroBatches, 77));
    input.micro.training = false;
    loop.launch(input);
    finish();
  }
  void note_weights() {
    for (const StateEntry& entry : loop.state()) {
      outcome.weights[entry.name] = bytes_of(loop.get_state(entry.name).tensor);
    }
  }

  PipelineOptions options;
  Network network;
  GpuBatches batches;
  Loop loop;
  GpuOutcome outcome;
};

inline constexpr int kGpuSteps = 5;  // two of them eager, then each of two graphs, and one again

inline GpuOutcome plain_gpu_outcome(GpuCase c) {
  c.schedule = "naive";
  c.cuts = {};
  c.replicas = c.chunks = 1;
  c.overlaps_sum = false;
  c.recompute = Recompute::kNever;
  c.unordered_sum = false;
  GpuProcessJob<PlainLoop> plain(options_of(c, nullptr));
  plain.train(kGpuSteps);
  plain.evaluate();
  plain.note_weights();
  return plain.outcome;
}

}  // namespace stagecoach::testing
