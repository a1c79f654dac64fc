#include "pipeline/memory_plan/values.h"

#include <algorithm>

#include "pipeline/memory_plan/packer.h"

namespace stagecoach {
namespace {

class ValuePlanner {
 public:
  ValuePlanner(const StageGraph& graph, const StageMemory& stage, const MicroBatchOrder& order)
      : graph_(graph), stage_(stage), order_(order), number_(graph.values.size(), -1) {}

  void plan(MemoryPlan& plan) {
    find_homes();
    for (int i = 0; i < graph_.size(); ++i) {
      for (const int v : graph_.outputs[i]) add(v);
    }
    add_handed_on();
    add_second();
    add_saved();
    pack(plan);
  }

 private:
  // Where a value lies. Whoever writes over its input lets that lie there, too.
  enum class Home { kNone, kSlot, kOutputs, kCheckpoints };

  const StageValue& value(int v) const { return graph_.values[static_cast<std::size_t>(v)]; }
  int input(int layer) const { return graph_.inputs[layer][0]; }

  // Whether the layer may write its first output over its first input.
  bool in_place(int layer) const {
    const LayerPlan& plan = graph_.layers[layer];
    if (!plan.in_place || plan.inputs_needed_by_weight || plan.inputs_needed_by_input) return false;
    const StageValue& over = value(input(layer));
    return over.maker >= 0 && order_.segment_of[over.maker] == order_.segment_of[layer] &&
           over.readers.size() == 1 && !over.sent &&
           !graph_.layers[over.maker].outputs_needed_by_input;
  }

  void find_homes() {
    home_.assign(graph_.values.size(), Home::kNone);
    for (int i = graph_.size() - 1; i >= 0; --i) {
      if (i == graph_.loss()) continue;
      for (const int v : graph_.outputs[i]) {
        if (home_[v] == Home::kNone) home_[v] = home_alone(v);
      }
      if (in_place(i)) home_[input(i)] = home_[graph_.outputs[i][0]];
    }
  }
  Home home_alone(int v) const {
    if (value(v).sent) return Home::kOutputs;
    const int own = order_.segment_of[value(v).maker];
    const bool later = std::ranges::any_of(value(v).readers, [&](const ValueReader& reader) {
      return order_.segment_of[reader.layer] != own;
    });
    return later ? Home::kCheckpoints : Home::kSlot;
  }

  // The last time that the value is read, within its segment.
  int last_use(int v) const {
    const int maker = value(v).maker;
    int last = order_.forward[maker];
    if (graph_.layers[maker].outputs_needed_by_input) last = order_.backward[maker];
    for (const ValueReader& reader : value(v).readers) {
      const LayerPlan& plan = graph_.layers[reader.layer];
      last = std::max(last, order_.forward[reader.layer]);
      if (plan.inputs_needed_by_input) last = std::max(last, order_.backward[reader.layer]);
      if (plan.inputs_needed_by_weight) last = std::max(last, order_.weight[reader.layer]);
    }
    return last;
  }

  // The number, in the same packer, of the value that this one is written over; or -1.
  int over(int v, const std::vector<int>& numbers) const {
    const int maker = value(v).maker;
    return value(v).output == 0 && in_place(maker) ? numbers[input(maker)] : -1;
  }

  void add(int v) {
    const int with = over(v, number_);
    switch (home_[v]) {
      case Home::kNone:
        break;
      case Home::kSlot:
        number_[v] = slot_.add(value(v).spec, order_.forward[value(v).maker], last_use(v), with);
        break;
      case Home::kOutputs:
        number_[v] = outputs_.add(value(v).spec, with);
        break;
      case Home::kCheckpoints:  // from the first F on
        number_[v] = checkpoints_.add(value(v).spec, with);
    }
  }

  // What was copied here from another device is copied once more where it is handed on: the memory
  // for what is received is given back when this stage has read it, before later ones have.
  void add_handed_on() {
    if (!stage_.receives_activations) return;
    for (const int v : graph_.received) {
      if (!value(v).sent) continue;
      home_[v] = Home::kOutputs;
      number_[v] = outputs_.add(value(v).spec);
    }
  }

  // Of what a second F writes into the slot only the same F reads: it is there from the first.
  void add_second() {
    second_.assign(graph_.values.size(), -1);
    if (!stage_.recomputes) return;
    for (int i = 0; i < graph_.size(); ++i) {
      for (const int v : graph_.outputs[i]) {
        if (home_[v] != Home::kOutputs) continue;
        int last = order_.forward[i];
        for (const ValueReader& reader : value(v).readers) {
          if (order_.segment_of[reader.layer] == order_.segment_of[i]) {
            last = std::max(last, order_.forward[reader.layer]);
          }
        }
        second_[v] = slot_.add(value(v).spec, order_.forward[i], last, over(v, second_));
      }
    }
  }

  // The gradient that a loss made in F is that of the prediction, until W of its maker.
  void add_saved() {
    for (int i = 0; i < graph_.size(); ++i) {
      std::vector<int>& numbers = saved_.emplace_back();
      for (const TensorSpec& spec : graph_.layers[i].saved) {
        const bool gradient = numbers.empty() && graph_.layers[i].saved_is_input_grad;
        const int until = gradient ? order_.weight[value(input(i)).maker] : order_.backward_end(i);
        numbers.push_back(slot_.add(spec, order_.forward[i], until));
      }
    }
  }

  void pack(MemoryPlan& plan) {
    if (graph_.has_next) {
      plan.outputs = outputs_.pack(plan.arena, "outputs for the next stage", stage_.outputs);
    }
    plan.slots = slot_.pack(plan.arena, "slots", stage_.slots);
    if (order_.segments.size() > 1) {
      plan.checkpoints = checkpoints_.pack(plan.arena, "checkpoints", stage_.received);
    }
    plan.value.resize(graph_.values.size());
    plan.second.resize(graph_.values.size());
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      if (home_[v] == Home::kSlot) plan.value[v] = slot_.place(number_[v]);
      if (home_[v] == Home::kOutputs) plan.value[v] = outputs_.place(number_[v]);
      if (home_[v] == Home::kCheckpoints) plan.value[v] = checkpoints_.place(number_[v]);
      if (second_[v] >= 0) plan.second[v] = slot_.place(second_[v]);
    }
    for (const std::vector<int>& numbers : saved_) {
      std::vector<Place>& places = plan.saved.emplace_back();
      for (const int number : numbers) places.push_back(slot_.place(number));
    }
  }

  const StageGraph& graph_;
  const StageMemory& stage_;
  const MicroBatchOrder& order_;
  Packer slot_, outputs_, checkpoints_;
  std::vector<Home> home_;               // by value
  std::vector<int> number_, second_;     // by value: in the packer of its home; in the slot
  std::vector<std::vector<int>> saved_;  // [layer]: numbers in the slot
};

}  // namespace

void plan_values(const StageGraph& graph, const StageMemory& stage, const MicroBatchOrder& order,
                 MemoryPlan& plan) {
  ValuePlanner(graph, stage, order).plan(plan);
}

}  // namespace stagecoach
