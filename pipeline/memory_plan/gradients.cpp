#include "pipeline/memory_plan/gradients.h"

#include "pipeline/memory_plan/packer.h"

namespace stagecoach {
namespace {

class GradientPlanner {
 public:
  GradientPlanner(const StageGraph& graph, const StageMemory& stage, const MicroBatchOrder& order)
      : graph_(graph),
        stage_(stage),
        order_(order),
        number_(graph.values.size(), -1),
        outside_(graph.values.size(), -1) {}

  void plan(MemoryPlan& plan) {
    for (int i = graph_.size() - 1; i >= 0; --i) {
      for (auto v = graph_.outputs[i].rbegin(); v != graph_.outputs[i].rend(); ++v) add(*v);
    }
    for (const int v : graph_.gradients_sent) add_sent(v);
    for (const StageValue& value : graph_.values) add_parts(value);
    pack(plan);
  }

 private:
  // The gradient of the prediction, where the loss made it in F, lies in the slot already.
  bool made_in_forward(const StageValue& value) const {
    return value.parts.size() == 1 && graph_.layers[value.parts[0].layer].saved_is_input_grad &&
           value.parts[0].input == 0;
  }

  // Whether the only reader of the value may write its gradient over that of its own output.
  bool in_place(const StageValue& value) const {
    if (value.parts.size() != 1 || value.gradient_from_next) return false;
    const LayerPlan& reader = graph_.layers[value.parts[0].layer];
    return reader.in_place && reader.parameters.empty() && value.parts[0].input == 0;
  }

  // The gradient of a value that this stage makes: from the B of its last reader on.
  void add(int v) {
    const StageValue& value = graph_.values[v];
    if (value.parts.empty() || made_in_forward(value)) return;
    const int reader = value.parts[0].layer;
    const int with = in_place(value) ? number_[graph_.outputs[reader][0]] : -1;
    number_[v] =
        slot_.add(value.spec, order_.backward[reader], order_.backward_end(value.maker), with);
  }

  // Of one that earlier stages make. What this stage only hands on needs no memory, unless it was
  // copied here: see ValuePlanner::add_handed_on().
  void add_sent(int v) {
    const StageValue& value = graph_.values[v];
    if (!value.parts.empty() || stage_.receives_gradients) outside_[v] = sent_.add(value.spec);
  }

  // All parts but the first need memory only until they are added.
  void add_parts(const StageValue& value) {
    for (std::size_t p = 1; p < value.parts.size(); ++p) {
      const int time = order_.backward[value.parts[p].layer];
      scratch_.push_back({value.parts[p], slot_.add(value.spec, time, time)});
    }
  }

  void pack(MemoryPlan& plan) {
    plan.gradient_slots = slot_.pack(plan.arena, "gradient slots", stage_.gradient_slots);
    if (graph_.has_previous()) {
      plan.input_gradients =
          sent_.pack(plan.arena, "gradients for the stage before", stage_.input_gradients);
    }
    for (const std::vector<int>& inputs : graph_.inputs) plan.part.emplace_back(inputs.size());
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      const StageValue& value = graph_.values[v];
      MaybePlace& place = plan.gradient.emplace_back();
      if (number_[v] >= 0) place = slot_.place(number_[v]);
      if (outside_[v] >= 0) place = sent_.place(outside_[v]);
      if (made_in_forward(value)) place = plan.saved[value.parts[0].layer][0];
      if (!value.parts.empty()) plan.part[value.parts[0].layer][value.parts[0].input] = place;
    }
    for (const auto& [reader, number] : scratch_) {
      plan.part[reader.layer][reader.input] = slot_.place(number);
    }
  }

  const StageGraph& graph_;
  const StageMemory& stage_;
  const MicroBatchOrder& order_;
  Packer slot_, sent_;
  std::vector<int> number_, outside_;  // by value: in slot_, in sent_
  struct Scratch {
    ValueReader reader;
    int number;
  };
  std::vector<Scratch> scratch_;
};

}  // namespace

void plan_gradients(const StageGraph& graph, const StageMemory& stage, const MicroBatchOrder& order,
                    MemoryPlan& plan) {
  GradientPlanner(graph, stage, order).plan(plan);
}

}  // namespace stagecoach
