#include "pipeline/memory_plan.h"

#include <algorithm>

#include "core/error.h"

namespace stagecoach {
namespace {

// Tensors of one micro-batch; those of a group share their memory.
class Packer {
 public:
  // Returns the tensor's number. `with`: number of a tensor whose memory it takes over, or -1.
  int add(const TensorSpec& spec, int first, int last, int with = -1) {
    if (with < 0) {
      group_.push_back(static_cast<int>(lifetimes_.size()));
      lifetimes_.push_back({spec.bytes(), first, last});
    } else {
      group_.push_back(group_[with]);
      Lifetime& shared = lifetimes_[group_[with]];
      shared.bytes = std::max(shared.bytes, spec.bytes());
      shared.first = std::min(shared.first, first);
      shared.last = std::max(shared.last, last);
    }
    specs_.push_back(spec);
    return static_cast<int>(specs_.size()) - 1;
  }

  // Adds the region; then place() holds.
  int pack(ArenaPlan& arena, std::string name, int count) {
    std::int64_t bytes = 0;
    offsets_ = place_by_lifetime(lifetimes_, bytes);
    return region_ = arena.add(std::move(name), bytes, count);
  }

  Place place(int number) const { return {region_, offsets_[group_[number]], specs_[number]}; }

 private:
  std::vector<Lifetime> lifetimes_;  // per group
  std::vector<int> group_;           // per tensor
  std::vector<TensorSpec> specs_;
  std::vector<std::int64_t> offsets_;
  int region_ = -1;
};

class Planner {
 public:
  Planner(std::span<const LayerPlan> layers, const StageMemory& stage)
      : layers_(layers), stage_(stage), n_(static_cast<int>(layers.size())) {}

  MemoryPlan plan() {
    plan_segments();
    plan_parameters();
    plan_slots();
    plan_gradients();
    plan_received();
    std::int64_t workspace = 0;
    for (const LayerPlan& layer : layers_) workspace = std::max(workspace, layer.workspace_bytes);
    plan_.workspace = plan_.arena.add("workspace", workspace);
    if (!stage_.has_next) {
      const TensorSpec losses = row_major({stage_.loss_rows});
      const TensorSpec correct = row_major({stage_.loss_rows}, DType::kI32);
      plan_.losses = Place{plan_.arena.add("losses", losses.bytes()), 0, losses};
      plan_.correct = Place{plan_.arena.add("right answers", correct.bytes()), 0, correct};
    }
    return std::move(plan_);
  }

 private:
  // The order within a micro-batch: of the segments from the last to the first, F of all layers,
  // after the last one the loss, B of all from the last, W likewise. (With several segments there
  // was an F of all before, which needs no more of a slot than the second one.)
  void plan_segments() {
    const int length =
        stage_.recomputes && stage_.recompute_interval > 0 ? stage_.recompute_interval : n_;
    for (int first = 0; first < n_; first += length) plan_.segments.push_back(first);
    forward_time_.resize(layers_.size());
    backward_time_.resize(layers_.size());
    weight_time_.resize(layers_.size());
    int time = 0, end = n_;
    for (auto first = plan_.segments.rbegin(); first != plan_.segments.rend(); ++first) {
      for (int i = *first; i < end; ++i) forward_time_[i] = time++;
      if (end == n_) loss_time_ = time++;
      for (int i = end - 1; i >= *first; --i) backward_time_[i] = time++;
      for (int i = end - 1; i >= *first; --i) weight_time_[i] = time++;
      end = *first;
    }
  }
  bool starts_segment(int layer) const {
    return std::ranges::find(plan_.segments, layer) != plan_.segments.end();
  }
  // When B and W have run.
  int backward_end(int layer) const {
    return layers_[layer].parameters.empty() ? backward_time_[layer] : weight_time_[layer];
  }

  // Whether the layer may write its output over its input.
  bool forward_in_place(int layer) const {
    return !starts_segment(layer) && layers_[layer].in_place &&
           !layers_[layer].input_needed_by_weight && !layers_[layer - 1].output_needed_by_input;
  }
  // Whether the layer may write its input gradient over its output gradient.
  bool backward_in_place(int layer) const {
    return layer + 1 < n_ && layers_[layer].in_place && layers_[layer].parameters.empty();
  }

  void plan_parameters() {
    std::int64_t bytes = 0;
    std::vector<std::vector<Place>> places(layers_.size());
    for (int i = 0; i < n_; ++i) {
      for (const ParameterSpec& parameter : layers_[i].parameters) {
        places[i].push_back({0, bytes, parameter.spec});
        const std::int64_t unit = Buffer::kAlignment;
        bytes += (parameter.spec.bytes() + unit - 1) / unit * unit;
      }
    }
    plan_.flat = row_major({bytes / size_of(DType::kF32)});
    plan_.parameters = plan_.arena.add("parameters", bytes);
    plan_.gradients = plan_.arena.add("gradients of parameters", bytes);
    for (int i = 0; i < stage_.optimizer_states; ++i) {
      plan_.optimizer_states.push_back(plan_.arena.add("optimizer state", bytes));
    }
    for (auto& of_layer : places) {
      for (Place& place : of_layer) place.region = plan_.parameters;
    }
    plan_.parameter = std::move(places);
    if (std::ranges::any_of(layers_, [](const LayerPlan& layer) {
          return !layer.parameters.empty() && layer.input.dtype == DType::kBF16;
        })) {
      plan_copies(bytes / 2);
    }
  }

  // Element by element as the parameters, in half the bytes.
  void plan_copies(std::int64_t bytes) {
    plan_.copies = plan_.arena.add("parameters in bf16", bytes);
    plan_.copy = plan_.parameter;
    for (auto& of_layer : plan_.copy) {
      for (Place& place : of_layer) {
        place.region = plan_.copies;
        place.offset /= 2;
        place.spec.dtype = DType::kBF16;
      }
    }
  }

  // Until when the output of a layer is read, within its segment.
  int last_use(int layer) const {
    int last = loss_time_;
    if (layer + 1 < n_) {
      last = forward_time_[layer + 1];
      if (layers_[layer + 1].input_needed_by_weight) last = weight_time_[layer + 1];
    }
    if (layers_[layer].output_needed_by_input) last = std::max(last, backward_time_[layer]);
    return last;
  }

  void plan_slots() {
    plan_.output.resize(layers_.size());
    plan_.second_output.resize(layers_.size());
    plan_.saved.resize(layers_.size());
    Packer slot, checkpoints;
    for (std::size_t g = 0; g < plan_.segments.size(); ++g) {
      const int end = g + 1 < plan_.segments.size() ? plan_.segments[g + 1] : n_;
      plan_segment(plan_.segments[g], end, slot, checkpoints);
    }
    std::vector<std::vector<int>> saved(layers_.size());
    for (int i = 0; i < n_; ++i) {
      for (const TensorSpec& spec : layers_[i].saved) {
        saved[i].push_back(slot.add(spec, forward_time_[i], backward_end(i)));
      }
    }
    int logits_grad = -1;
    if (!stage_.has_next) {
      logits_grad = slot.add(layers_[n_ - 1].output, loss_time_, weight_time_[n_ - 1]);
    }
    plan_.slots = slot.pack(plan_.arena, "slots", stage_.slots);
    if (plan_.segments.size() > 1) {
      plan_.checkpoints = checkpoints.pack(plan_.arena, "checkpoints", stage_.received);
    }
    for (int i = 0; i < n_; ++i) {
      const auto [packer, number, second] = outputs_[i];
      if (packer != nullptr) plan_.output[i] = packer->place(number);
      if (second >= 0) plan_.second_output[i] = slot.place(second);
      for (int tensor : saved[i]) plan_.saved[i].push_back(slot.place(tensor));
    }
    if (logits_grad >= 0) plan_.logits_grad = slot.place(logits_grad);
  }

  // The outputs of the layers [first, end). That of the last is read after the segment's F: it, and
  // those that it is written over, lie outside the slot, unless it is the network's.
  void plan_segment(int first, int end, Packer& slot, Packer& checkpoints) {
    int kept = end - 1;
    while (forward_in_place(kept)) --kept;
    const bool last = end == n_;
    outputs_.resize(layers_.size());
    for (int i = first; i < end; ++i) {
      const bool inside = i < kept || (last && !stage_.has_next);
      if (!inside && last) continue;
      const int with = forward_in_place(i) ? outputs_[i - 1].number : -1;
      Packer& packer = inside ? slot : checkpoints;
      const int from = inside ? forward_time_[i] : 0;  // checkpoints: from the first F on
      const int until = inside ? last_use(i) : weight_time_[0];
      outputs_[i] = {&packer, packer.add(layers_[i].output, from, until, with)};
    }
    if (!last || !stage_.has_next) return;
    std::int64_t bytes = 0;
    for (int i = kept; i < end; ++i) bytes = std::max(bytes, layers_[i].output.bytes());
    plan_.outputs = plan_.arena.add("outputs for the next stage", bytes, stage_.outputs);
    for (int i = kept; i < end; ++i) plan_.output[i] = {plan_.outputs, 0, layers_[i].output};
    if (!stage_.recomputes) return;
    for (int i = kept; i < end; ++i) {
      const int with = i > kept ? outputs_[i - 1].second : -1;
      outputs_[i].second =
          slot.add(layers_[i].output, forward_time_[i], forward_time_[end - 1], with);
    }
  }

  void plan_gradients() {
    plan_.first_backward = 0;
    if (!stage_.has_previous) {
      const auto first = std::ranges::find_if(
          layers_, [](const LayerPlan& layer) { return !layer.parameters.empty(); });
      plan_.first_backward = std::min(n_, static_cast<int>(first - layers_.begin()) + 1);
    }
    Packer packer;
    std::vector<int> grads(layers_.size(), -1);
    for (int i = n_ - 2; i >= plan_.first_backward - 1 && i >= 0; --i) {
      const int with = backward_in_place(i + 1) ? grads[i + 1] : -1;
      grads[i] = packer.add(layers_[i].output, backward_time_[i + 1], backward_end(i), with);
    }
    plan_.gradient_slots = packer.pack(plan_.arena, "gradient slots", stage_.gradient_slots);
    for (int number : grads) {
      plan_.output_grad.push_back(number < 0 ? std::nullopt
                                             : std::optional<Place>(packer.place(number)));
    }
    if (stage_.has_previous) {
      const TensorSpec& spec = layers_[0].input;
      plan_.input_gradients =
          plan_.arena.add("gradients for the stage before", spec.bytes(), stage_.input_gradients);
      plan_.input_grad = Place{plan_.input_gradients, 0, spec};
    }
  }

  void plan_received() {
    if (stage_.receives_activations) {
      const TensorSpec& spec = layers_[0].input;
      plan_.received_activations =
          plan_.arena.add("received activations", spec.bytes(), stage_.received);
      plan_.received_input = Place{plan_.received_activations, 0, spec};
    }
    if (stage_.receives_gradients) {
      const TensorSpec& spec = layers_[n_ - 1].output;
      plan_.received_gradients =
          plan_.arena.add("received gradients", spec.bytes(), stage_.received_gradients);
      plan_.received_output_grad = Place{plan_.received_gradients, 0, spec};
    }
  }

  // Where the output of a layer is to be: its number in a packer, and that of the one for a second
  // F in the slot.
  struct Output {
    Packer* packer = nullptr;
    int number = -1, second = -1;
  };

  std::span<const LayerPlan> layers_;
  const StageMemory stage_;
  const int n_;
  std::vector<int> forward_time_, backward_time_, weight_time_;  // by layer
  int loss_time_ = 0;
  std::vector<Output> outputs_;  // by layer
  MemoryPlan plan_;
};

}  // namespace

StageMemory memory_of_stage(const BufferCounts& buffers, int s) {
  return {.slots = buffers.slots[s],
          .received = buffers.received[s],
          .received_gradients = buffers.received_gradients[s],
          .gradient_slots = buffers.gradient_slots[s],
          .outputs = buffers.outputs[s],
          .input_gradients = buffers.input_gradients[s],
          .has_previous = s > 0,
          .has_next = s + 1 < static_cast<int>(buffers.slots.size())};
}

MemoryPlan plan_memory(std::span<const LayerPlan> layers, const StageMemory& stage) {
  const int least = std::min({stage.slots, stage.received, stage.received_gradients,
                              stage.gradient_slots, stage.outputs, stage.input_gradients});
  STAGECOACH_CHECK(
      !layers.empty() && least >= 1 && stage.optimizer_states >= 0 && stage.recompute_interval >= 0,
      "plan_memory", "layers, at least one buffer of each kind, and nothing negative",
      fmt::format("{} layers, {} buffers of a kind, {} optimizer states, every {} "
                  "layers recomputed",
                  layers.size(), least, stage.optimizer_states, stage.recompute_interval));
  return Planner(layers, stage).plan();
}

std::string describe(const MemoryPlan& plan) {
  std::string text;
  for (const Region& region : plan.arena.regions()) {
    if (region.bytes == 0) continue;
    text += fmt::format("  {:<32} {:>3} x {:>9.1f} MiB\n", region.name, region.count,
                        static_cast<double>(region.bytes) / (1 << 20));
  }
  return text;
}

}  // namespace stagecoach
