#include "pipeline/profile.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

#include "core/graph.h"
#include "core/system_memory.h"
#include "kernels/step.h"
#include "kernels/uniform.h"
#include "pipeline/stage.h"

namespace stagecoach {
namespace {

// A layer is run until both are reached.
constexpr int kLeastRuns = 3;
constexpr double kLeastSeconds = 0.03;
constexpr int kMostRuns = 30;

StageOptions single_layer(const Network& network, int layer, std::int64_t rows) {
  StageOptions options;
  options.first = layer;
  options.end = layer + 1;
  options.memory.has_previous = layer > 0;
  options.memory.has_next = layer + 1 < network.size();
  options.memory.loss_rows = rows;
  return options;
}

// Values as in training, neither all zero nor denormal.
OwnedTensor random_tensor(Context& context, const TensorSpec& spec) {
  OwnedTensor owned(spec, context.device());
  fill_uniform(context, owned.tensor, 1.0f, {.use = RandomUse::kSyntheticData});
  return owned;
}

class LayerTimer {
 public:
  LayerTimer(const Network& network, const std::vector<LayerPlan>& plans, int layer,
             const Target& target)
      : rows_(plans.front().input.shape[0]), context_(target) {
    const LayerPlan& plan = plans[static_cast<std::size_t>(layer)];
    const StageOptions options = single_layer(network, layer, rows_);
    const auto arena = plan_memory(std::span(&plan, 1), options.memory).arena;
    check_memory("measuring a layer", arena.bytes() + plan.input.bytes() + plan.output.bytes(),
                 target.device, kMemoryHint);
    stage_.emplace(network, plans, options, context_);
    stage_->initialize(0);
    input_.emplace(random_tensor(context_, plan.input));
    if (options.memory.has_next) output_grad_.emplace(random_tensor(context_, plan.output));
    labels_.emplace(TensorSpec{DType::kI32, {rows_}}, target.device);
    begin_step(context_, {});
  }

  double median_seconds() {
    run();  // touches the memory
    std::vector<double> seconds;
    double sum = 0;
    while (static_cast<int>(seconds.size()) < kLeastRuns ||
           (sum < kLeastSeconds && static_cast<int>(seconds.size()) < kMostRuns)) {
      seconds.push_back(run());
      sum += seconds.back();
    }
    const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
    std::nth_element(seconds.begin(), middle, seconds.end());
    return *middle;
  }

 private:
  // F, B and W of the next micro-batch. After the first one, gradients are added as in most of a
  // step.
  void enqueue() {
    MicroBatch micro;
    micro.index = index_++;
    stage_->forward(input_->tensor, labels_->tensor, rows_, micro);
    stage_->backward_input(output_grad_ ? output_grad_->tensor : Tensor{}, micro);
    stage_->backward_weight(micro);
  }

  // On a GPU by a graph, once all has run, the adding of gradients too: launching single kernels
  // would take longer than most of them run.
  double run() {
    Stream& stream = context_.stream();
    if (index_ > 1 && Graph::can_capture(context_.device()) && graph_ == nullptr) {
      Stream* streams[] = {&stream};
      graph_ = Graph::capture(streams, [this] { enqueue(); });
    }
    Event start, end;
    stream.record(start, EventUse::kTime);
    if (graph_) {
      graph_->launch(stream);
    } else {
      enqueue();
    }
    stream.record(end, EventUse::kTime);
    stream.synchronize();
    return std::chrono::duration<double>(end.time() - start.time()).count();
  }

  std::int64_t rows_;
  std::int64_t index_ = 0;
  Context context_;
  std::optional<Stage> stage_;
  std::optional<OwnedTensor> input_, output_grad_, labels_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace

LayerCosts measure_layers(const Network& network, const std::vector<LayerPlan>& plans,
                          const Target& target, const std::function<void(int)>& done) {
  LayerCosts costs;
  for (int layer = 0; layer < network.size(); ++layer) {
    costs.push_back(LayerTimer(network, plans, layer, target).median_seconds());
    if (done) done(layer + 1);
  }
  return costs;
}

}  // namespace stagecoach
