// A job that trains in milliseconds: a network with every kind of layer for images of 16 x 16, the
// batches of its steps, and what a loop makes of them, byte by byte.
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/uniform.h"
#include "layers/layers.h"
#include "pipeline/pipeline.h"
#include "pipeline/plain_loop.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/simulate.h"
#include "tests/kernels/tensors.h"

namespace stagecoach::testing {

inline constexpr int kMicroBatchRows = 3, kClasses = 10;
inline constexpr std::uint64_t kSeed = 5;

// 12 layers, for TensorSpec small_input().
inline std::vector<NamedLayer> small_layers() {
  return {{"conv1", conv2d_layer(3, 4, 3, {1, 1, 1, 1})},
          {"relu1", relu_layer()},
          {"pool1", max_pool2d_layer({3, 3, 2, 2, 0, 0})},
          {"dropout0", dropout_layer(0.2f)},
          {"conv2", conv2d_layer(4, 6, 3, {1, 1, 1, 1})},
          {"relu2", relu_layer()},
          {"avgpool", adaptive_avg_pool2d_layer(3, 3)},
          {"", flatten_layer()},
          {"fc1", linear_layer(54, 21)},
          {"relu3", relu_layer()},
          {"dropout1", dropout_layer(0.5f)},
          {"fc2", linear_layer(21, kClasses)}};
}
inline Network small_network() {
  return {"small", small_layers()};
}
// 24 layers: those, and more between relu3 and dropout1.
inline std::vector<NamedLayer> many_layers() {
  std::vector<NamedLayer> layers = small_layers();
  for (int i = 0; i < 6; ++i) {
    layers.insert(layers.begin() + 10, {{fmt::format("more{}", i), linear_layer(21, 21)},
                                        {fmt::format("more_relu{}", i), relu_layer()}});
  }
  return layers;
}
// As many layers to each stage as to the others, but for one.
inline std::vector<int> even_cuts(int layers, int stages) {
  std::vector<int> cuts;
  for (int s = 1; s < stages; ++s) cuts.push_back(layers * s / stages);
  return cuts;
}
inline TensorSpec small_input(int rows = kMicroBatchRows) {
  return channels_last(rows, 3, 16, 16);
}

// A layer that does something more in F, B and W: hook(context, kind, micro-batch).
class HookedLayer final : public Layer {
 public:
  using Hook = std::function<void(Context&, ActionKind, std::int64_t)>;
  HookedLayer(std::shared_ptr<const Layer> inner, Hook hook)
      : inner_(std::move(inner)), hook_(std::move(hook)) {}

  std::string describe() const override { return "Hooked " + inner_->describe(); }
  LayerPlan plan(std::span<const TensorSpec> inputs, const Target& target) const override {
    return inner_->plan(inputs, target);
  }

 protected:
  void prepare_impl(Context& context, const LayerPlan& plan, const LayerCall& call) const override {
    inner_->prepare(context, plan, call);
  }
  void end_step_impl(Context& context, const LayerPlan& plan,
                     const LayerCall& call) const override {
    inner_->end_step(context, plan, call);
  }
  void forward_impl(Context& context, const LayerPlan& plan, const LayerCall& call) const override {
    hook_(context, ActionKind::kForward, call.micro.index);
    inner_->forward(context, plan, call);
  }
  void backward_input_impl(Context& context, const LayerPlan& plan,
                           const LayerCall& call) const override {
    hook_(context, ActionKind::kBackwardInput, call.micro.index);
    inner_->backward_input(context, plan, call);
  }
  void backward_weight_impl(Context& context, const LayerPlan& plan,
                            const LayerCall& call) const override {
    hook_(context, ActionKind::kBackwardWeight, call.micro.index);
    inner_->backward_weight(context, plan, call);
  }

 private:
  const std::shared_ptr<const Layer> inner_;
  const Hook hook_;
};

// small_network() with a hook in one layer.
inline Network hooked_network(int layer, HookedLayer::Hook hook) {
  std::vector<NamedLayer> layers = small_layers();
  std::shared_ptr<const Layer>& one = layers[layer].layer;
  one = std::make_shared<HookedLayer>(one, std::move(hook));
  return {"hooked", layers};
}

// Images and labels of one step.
struct SmallBatch {
  SmallBatch(int micro_batches, std::uint64_t seed)
      : images(random_tensor(small_input(micro_batches * kMicroBatchRows), seed)),
        labels(row_major({micro_batches * kMicroBatchRows}, DType::kI32)) {
    for (std::int64_t i = 0; i < labels.tensor.elements(); ++i) {
      labels.tensor.as<std::int32_t>()[i] = static_cast<std::int32_t>((i * 7 + seed) % kClasses);
    }
  }
  StepInput input(std::int64_t step, const Optimizer* optimizer) const {
    StepInput result;
    result.images = images.tensor;
    result.targets = labels.tensor;
    result.micro.seed = kSeed;
    result.micro.step = step;
    result.optimizer = optimizer;
    return result;
  }
  StepInput evaluation() const {
    StepInput result = input(0, nullptr);
    result.micro.training = false;
    return result;
  }
  OwnedTensor images, labels;
};

using OptimizerPointer = std::shared_ptr<const Optimizer>;

inline OptimizerPointer small_sgd() {
  return make_sgd(0.05f, {.momentum = 0.9f, .weight_decay = 0.01f});
}
inline OptimizerPointer small_adam() {
  return make_adam(0.01f, {.weight_decay = 0.01f});
}

// `cuts`: the first layers of all stages but the first.
inline PipelineOptions small_options(const Schedule& schedule, const std::vector<int>& cuts,
                                     int threads = 1,
                                     const OptimizerPointer& optimizer = small_sgd(),
                                     int layers = 12) {
  PipelineOptions options;
  options.partition.first = {0};
  options.partition.first.insert(options.partition.first.end(), cuts.begin(), cuts.end());
  options.partition.layers = layers;
  options.schedule = schedule;
  options.target = Target(threads);
  options.optimizer = optimizer;
  options.loss_rows = static_cast<std::int64_t>(schedule.micro_batches) * kMicroBatchRows;
  return options;
}

using Bytes = std::vector<std::uint8_t>;

// What training came to. operator== compares bits.
struct Outcome {
  std::vector<Bytes> losses, correct;  // per step
  std::map<std::string, Bytes> gradients, weights;
  bool operator==(const Outcome&) const = default;
};

inline void PrintTo(const Outcome& outcome, std::ostream* stream) {
  *stream << "an outcome of " << outcome.losses.size() << " steps";
}

// A network with initial weights in a loop.
template <typename Loop>
struct Job {
  explicit Job(const PipelineOptions& job_options, Network of = small_network())
      : options(job_options),
        network(std::move(of)),
        loop(network, network.plan(small_input(), options.target), options) {
    loop.initialize(kSeed);
  }

  // Trains steps [first, first + count).
  void train(int count, int first = 0) {
    for (int step = first; step < first + count; ++step) {
      const SmallBatch batch(micro_batches(), static_cast<std::uint64_t>(step));
      loop.run(batch.input(step, options.optimizer.get()));
      note_losses();
    }
    outcome.weights = weights();
    for (const Stage::Parameter& p : parameters()) outcome.gradients[p.name] = bytes_of(p.grad);
  }

  void evaluate(std::uint64_t seed = 77) {
    const SmallBatch batch(micro_batches(), seed);
    loop.run(batch.evaluation());
    note_losses();
  }

  int micro_batches() const { return options.schedule.micro_batches * options.replicas; }

  double loss(const SmallBatch& batch, const Optimizer* optimizer = nullptr) {
    loop.run(batch.input(0, optimizer));
    const Tensor losses = loop.stages().back()->losses();
    double sum = 0;
    for (std::int64_t i = 0; i < losses.elements(); ++i) sum += losses.as<float>()[i];
    return sum / static_cast<double>(losses.elements());
  }

  std::vector<Stage::Parameter> parameters() const {
    std::vector<Stage::Parameter> all;
    for (const auto& stage : loop.stages()) {
      all.insert(all.end(), stage->parameters().begin(), stage->parameters().end());
    }
    return all;
  }
  std::map<std::string, Bytes> weights() const {
    std::map<std::string, Bytes> all;
    for (const Stage::Parameter& p : parameters()) all[p.name] = bytes_of(p.value);
    return all;
  }
  // What the optimizer remembers, whoever has it.
  std::map<std::string, Bytes> optimizer_states() const {
    std::map<std::string, Bytes> all;
    for (const StateEntry& entry : loop.state()) {
      if (entry.kind != StateKind::kOptimizerState) continue;
      all[entry.name] = bytes_of(loop.get_state(entry.name).tensor);
    }
    return all;
  }
  void note_losses() {
    outcome.losses.push_back(bytes_of(loop.stages().back()->losses()));
    outcome.correct.push_back(bytes_of(loop.stages().back()->correct()));
  }

  PipelineOptions options;
  Network network;
  Loop loop;
  Outcome outcome;
};

// What the plain loop with one thread makes of `steps` steps.
inline Outcome plain_outcome(int micro_batches, const OptimizerPointer& optimizer, int steps) {
  Job<PlainLoop> plain(small_options(naive_schedule(1, micro_batches), {}, 1, optimizer));
  plain.train(steps);
  return plain.outcome;
}

// The schedules with one stage on each rank.
inline std::vector<std::string> one_stage_a_rank() {
  return {"naive", "gpipe", "1f1b"};
}

// Several stages on a rank: the stages of `schedule`, which has one on each, move to the ranks
// `rank_of`. The order of a rank is that in which a run with random times would end its actions, so
// it is one that goes on.
inline Schedule on_ranks(const Schedule& schedule, const std::vector<int>& rank_of, unsigned seed) {
  SimulationCosts costs;
  for (int stage = 0; stage < schedule.stages; ++stage) {
    const auto cost = [&] {
      seed = seed * 1664525 + 1013904223;
      return 1.0 + (seed >> 24) / 64.0;
    };
    costs.stages.push_back({cost(), cost(), cost()});
  }
  Simulation simulation = simulate(check(schedule), costs, BufferLimit::kPlanned);
  std::ranges::stable_sort(simulation.actions, {}, &SimulatedAction::end);
  Schedule result = schedule;
  result.ranks.assign(1 + static_cast<std::size_t>(std::ranges::max(rank_of)), {});
  for (const SimulatedAction& one : simulation.actions) {
    result.ranks[static_cast<std::size_t>(rank_of[one.action.stage])].push_back(one.action);
  }
  return result;
}

}  // namespace stagecoach::testing
