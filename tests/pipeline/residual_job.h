// A small residual network, whose skips cross cuts, in a loop on any device; and what it comes to,
// byte by byte.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/copy.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach::testing {

// 24 layers for TensorSpec small_input(). What pool makes is read by conv2, add1 and add2; what
// relu3 makes by conv4 and add3; the network's input by conv1 and, late, by side.
inline std::vector<NamedLayer> residual_layers() {
  const auto conv = [](int from, int to) { return conv2d_layer(from, to, 3, {1, 1, 1, 1}); };
  return {{"conv1", conv(3, 4)},
          {"bn1", batch_norm2d_layer(4)},
          {"relu1", relu_layer()},
          {"pool", max_pool2d_layer({3, 3, 2, 2, 0, 0})},
          {"conv2", conv(4, 4)},
          {"bn2", batch_norm2d_layer(4)},
          {"relu2", relu_layer()},
          {"conv3", conv(4, 4)},
          {"bn3", batch_norm2d_layer(4)},
          {"add1", add_layer(), {"bn3", "pool"}},
          {"relu3", relu_layer()},
          {"conv4", conv(4, 4)},
          {"bn4", batch_norm2d_layer(4)},
          {"add2", add_layer(), {"pool", "bn4"}},
          {"relu4", relu_layer()},
          {"add3", add_layer(), {"relu4", "relu3"}},
          {"twice", add_layer(), {"add3", "add3"}},
          {"avgpool", adaptive_avg_pool2d_layer(3, 3)},
          {"side", adaptive_avg_pool2d_layer(3, 3), {"input"}},
          {"mix", conv2d_layer(3, 4, 1), {"side"}},
          {"join", add_layer(), {"avgpool", "mix"}},
          {"", flatten_layer()},
          {"dropout", dropout_layer(0.3f)},
          {"fc", linear_layer(36, kClasses)}};
}
inline Network residual_network() {
  return {"residual", residual_layers()};
}
// The same, for targets F32 [N, kClasses].
inline Network residual_regression() {
  return {"regression", residual_layers(), mean_squared_error_loss()};
}

// What training came to.
struct ResidualOutcome {
  std::vector<Bytes> losses, correct;  // per step and evaluation
  std::map<std::string, Bytes> weights, gradients, buffers;
  bool operator==(const ResidualOutcome&) const = default;
};
inline void PrintTo(const ResidualOutcome& trained, std::ostream* stream) {
  *stream << "what " << trained.losses.size() << " steps came to";
}

// For ResidualJob::run().
inline void spoil_an_image(const Tensor& images) {
  images.as<float>()[images.elements() - 1] = std::numeric_limits<float>::infinity();
}

class ResidualJob {
 public:
  // `options`: of a pipeline, or with no stages of a plain loop.
  ResidualJob(const PipelineOptions& options, Network network)
      : options_(options), network_(std::move(network)) {
    const int rows = options.schedule.micro_batches * kMicroBatchRows;
    const auto plans = network_.plan(small_input(), options.target);
    const Device first = options.devices.empty() ? options.target.device : options.devices[0];
    if (options.partition.first.empty()) {
      loop_ = std::make_unique<PlainLoop>(network_, plans, options);
    } else {
      loop_ = std::make_unique<Pipeline>(network_, plans, options);
    }
    TensorSpec targets = plans.back().inputs[1];
    targets.shape = targets.shape.with(0, rows);
    images_ = std::make_unique<OwnedTensor>(small_input(rows), first);
    targets_ = std::make_unique<OwnedTensor>(targets, first);
    loop_->initialize(kSeed);
  }

  TrainingLoop& loop() { return *loop_; }

  void train(int count, int first = 0) {
    for (int step = first; step < first + count; ++step) run(step, true);
  }
  void evaluate() { run(77, false); }
  // `change`: of the images, before they are trained with.
  void run(int step, bool training, const std::function<void(const Tensor&)>& change = {}) {
    OwnedTensor images = random_tensor(images_->tensor.spec, static_cast<std::uint64_t>(step));
    if (change) change(images.tensor);
    put(images_->tensor, images.tensor);
    put(targets_->tensor, some_targets(step).tensor);
    StepInput input;
    input.images = images_->tensor;
    input.targets = targets_->tensor;
    input.micro.seed = kSeed;
    input.micro.step = step;
    input.micro.training = training;
    if (training) input.optimizer = options_.optimizer.get();
    const StepResult result = loop_->run(input);
    trained_.losses.push_back(bytes_of(result.losses));
    if (result.correct.defined()) trained_.correct.push_back(bytes_of(result.correct));
  }

  // So far.
  ResidualOutcome trained() const {
    ResidualOutcome all = trained_;
    for (const auto& stage : loop_->stages()) {
      const auto bytes = [&](const Tensor& tensor) {
        return bytes_of(to_host(stage->context().stream(), tensor).tensor);
      };
      for (const Stage::Parameter& p : stage->parameters()) {
        all.weights[p.name] = bytes(p.value);
        all.gradients[p.name] = bytes(p.grad);
      }
    }
    for (const StateEntry& entry : loop_->state()) {
      if (entry.kind != StateKind::kBuffer) continue;
      all.buffers[entry.name] = bytes_of(loop_->get_state(entry.name).tensor);
    }
    return all;
  }

 private:
  void put(const Tensor& to, const Tensor& from) {
    Stream& stream = loop_->stages()[0]->context().stream();
    copy(stream, to, from);
    stream.synchronize();
  }
  OwnedTensor some_targets(int step) const {
    const TensorSpec& spec = targets_->tensor.spec;
    if (spec.dtype == DType::kF32) return random_tensor(spec, static_cast<std::uint64_t>(step) + 5);
    OwnedTensor classes(spec);
    for (std::int64_t i = 0; i < spec.elements(); ++i) {
      classes.tensor.as<std::int32_t>()[i] = static_cast<std::int32_t>((i * 7 + step) % kClasses);
    }
    return classes;
  }

  const PipelineOptions options_;
  const Network network_;
  std::unique_ptr<TrainingLoop> loop_;
  std::unique_ptr<OwnedTensor> images_, targets_;
  ResidualOutcome trained_;
};

// Evenly cut.
inline PipelineOptions residual_options(const Schedule& schedule, int threads = 1) {
  const int layers = static_cast<int>(residual_layers().size());
  return small_options(schedule, even_cuts(layers, schedule.stages), threads, small_sgd(), layers);
}
// Of a plain loop.
inline PipelineOptions plain_options(int micro_batches, int threads = 1) {
  PipelineOptions options = residual_options(naive_schedule(1, micro_batches), threads);
  options.partition.first.clear();
  return options;
}

// Three steps, an evaluation, and one more step.
inline ResidualOutcome trained_by(const PipelineOptions& options, const Network& network) {
  ResidualJob job(options, network);
  job.train(3);
  job.evaluate();
  job.train(1, 3);
  for (const auto& stage : job.loop().stages()) {
    EXPECT_EQ(stage->arena().peak_bytes(), stage->memory_plan().arena.bytes());
  }
  return job.trained();
}

}  // namespace stagecoach::testing
