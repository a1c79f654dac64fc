#include "pipeline/profile.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>

#include "core/graph.h"
#include "core/system_memory.h"
#include "kernels/step.h"
#include "kernels/target.h"
#include "kernels/uniform.h"
#include "pipeline/stage.h"

namespace stagecoach {
namespace {

// A layer is run until it has so many runs and has taken so long, or takes longer than anyone would
// wait. A single run is no measurement: a neighbour on the machine would decide the split.
constexpr int kLeastRuns = 3;
constexpr double kLeastSeconds = 0.03, kMostSeconds = 0.5;
constexpr int kMostRuns = 30;

StageOptions single_layer(int layer, std::int64_t rows, std::int64_t micro_batches) {
  StageOptions options;
  options.first = layer;
  options.end = layer + 1;
  // Those of each run, of the one before, and of a captured one.
  options.memory.micro_batches = static_cast<int>((kMostRuns + 2) * micro_batches);
  options.memory.loss_rows = rows;
  return options;
}

// Tensors of a message, with values as in training, neither all zero nor denormal. What a layer
// only hands on is left out.
class Message {
 public:
  void add(Context& context, const TensorSpec& spec, bool read) {
    Tensor& tensor = tensors_.emplace_back();
    if (!read) return;
    tensor = owned_.emplace_back(spec, context.device()).tensor;
    if (is_floating(spec.dtype)) {
      fill_uniform(context, tensor, 1.0f, {.use = RandomUse::kSyntheticData});
    }
  }
  std::span<const Tensor> tensors() const { return tensors_; }

 private:
  std::vector<Tensor> tensors_;
  std::deque<OwnedTensor> owned_;
};

std::int64_t bytes_of_messages(const StageGraph& graph) {
  std::int64_t bytes = 0;
  for (const StageValue& value : graph.values) {
    if (value.maker < 0 && !value.readers.empty()) bytes += value.spec.bytes();
    if (value.gradient_from_next && !value.hands_gradient_on()) bytes += value.spec.bytes();
  }
  return bytes;
}

class LayerTimer {
 public:
  LayerTimer(const Network& network, const std::vector<LayerPlan>& plans, int layer,
             const Target& target)
      : rows_(plans.front().inputs[0].shape[0]),
        micro_batches_(plans[static_cast<std::size_t>(layer)].weight_group),
        context_(target) {
    const StageOptions options = single_layer(layer, rows_, micro_batches_);
    const StageGraph graph = stage_graph(network, plans, options.first, options.end);
    open_libraries(context_);
    check_memory("measuring a layer",
                 plan_memory(graph, options.memory).arena.bytes() + bytes_of_messages(graph),
                 target.device, kMemoryHint);
    stage_.emplace(network, plans, options, context_);
    stage_->initialize(0);
    for (const int v : graph.received) {
      inputs_.add(context_, graph.values[v].spec, !graph.values[v].readers.empty());
    }
    for (const int v : graph.gradients_received) {
      output_grads_.add(context_, graph.values[v].spec, !graph.values[v].hands_gradient_on());
    }
    if (graph.targets >= 0) targets_.emplace(graph.values[graph.targets].spec, target.device);
    begin_step(context_, {});
  }

  // Of a micro-batch, in the fastest run: what else happens on the machine only adds to it.
  double seconds() {
    enqueue(micro_batches_);  // touches the memory, that of the gradients in the last W
    context_.stream().synchronize();
    double fastest = run(), sum = fastest;
    for (int runs = 1;
         sum < kMostSeconds && (runs < kLeastRuns || (sum < kLeastSeconds && runs < kMostRuns));
         ++runs) {
      const double seconds = run();
      fastest = std::min(fastest, seconds);
      sum += seconds;
    }
    return fastest / static_cast<double>(micro_batches_);
  }

 private:
  // F, B and W of the next micro-batches. After the first ones, gradients are added as in most of a
  // step.
  void enqueue(std::int64_t micro_batches) {
    for (std::int64_t m = 0; m < micro_batches; ++m) {
      MicroBatch micro;
      micro.index = index_++;
      micro.batch = rows_;
      stage_->forward(inputs_.tensors(), targets_ ? targets_->tensor : Tensor{}, micro);
      stage_->backward_input(output_grads_.tensors(), micro);
      stage_->backward_weight(micro);
    }
  }

  void enqueue_timed() {
    start_ = Event();
    end_ = Event();
    context_.stream().record(start_, EventUse::kTime);
    enqueue(micro_batches_);
    context_.stream().record(end_, EventUse::kTime);
  }

  // On a GPU by a graph that takes the times itself: launching it, as launching single kernels,
  // takes longer than most layers run.
  double run() {
    Stream* const stream = &context_.stream();
    if (!Graph::can_capture(context_.device())) {
      enqueue_timed();
    } else {
      if (graph_ == nullptr) {
        graph_ = Graph::capture({&stream, 1}, [this] { enqueue_timed(); });
      }
      graph_->launch(*stream);
    }
    stream->synchronize();
    return end_.seconds_since(start_);
  }

  std::int64_t rows_;
  std::int64_t micro_batches_;  // of a run
  std::int64_t index_ = 0;
  Context context_;
  std::optional<Stage> stage_;
  Message inputs_, output_grads_;
  std::optional<OwnedTensor> targets_;
  Event start_, end_;  // of a run
  std::unique_ptr<Graph> graph_;
};

}  // namespace

LayerCosts measure_layers(const Network& network, const std::vector<LayerPlan>& plans,
                          const Target& target, const std::function<void(int)>& done) {
  LayerCosts costs;
  for (int layer = 0; layer < network.size(); ++layer) {
    costs.push_back(LayerTimer(network, plans, layer, target).seconds());
    if (done) done(layer + 1);
  }
  return costs;
}

}  // namespace stagecoach
