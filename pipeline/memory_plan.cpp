#include "pipeline/memory_plan.h"

#include <algorithm>

#include "core/error.h"
#include "pipeline/gradient_tree.h"
#include "pipeline/memory_plan/gradients.h"
#include "pipeline/memory_plan/packer.h"
#include "pipeline/memory_plan/values.h"

namespace stagecoach {
namespace {

// Places beside each other, in regions of one slot.
class Beside {
 public:
  Place add(const TensorSpec& spec) {
    const Place place{-1, bytes_, spec};
    const std::int64_t unit = Buffer::kAlignment;
    bytes_ += (spec.bytes() + unit - 1) / unit * unit;
    return place;
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::int64_t bytes_ = 0;
};

using PlacesByLayer = std::vector<std::vector<Place>>;

void set_region(PlacesByLayer& places, int region) {
  for (auto& of_layer : places) {
    for (Place& place : of_layer) place.region = region;
  }
}

// In BF16, element by element as the parameters, in half the bytes.
void plan_copies(std::int64_t bytes, MemoryPlan& plan) {
  plan.copies = plan.arena.add("parameters in bf16", bytes);
  plan.copy = plan.parameter;
  set_region(plan.copy, plan.copies);
  for (auto& of_layer : plan.copy) {
    for (Place& place : of_layer) {
      place.offset /= 2;
      place.spec.dtype = DType::kBF16;
    }
  }
}

// Who sums and updates which of the parameters.
void plan_updates(const StageGraph& graph, const StageMemory& stage, MemoryPlan& plan) {
  constexpr std::int64_t kElement = sizeof(float);
  const std::int64_t elements = plan.flat.shape[0];
  std::vector<std::int64_t> first(graph.layers.size(), elements);
  for (std::size_t i = graph.layers.size(); i-- > 0;) {
    if (i + 1 < first.size()) first[i] = first[i + 1];
    if (!plan.parameter[i].empty()) first[i] = plan.parameter[i].front().offset / kElement;
  }
  plan.buckets = gradient_buckets(
      first, elements, stage.bucket_bytes > 0 ? stage.bucket_bytes : elements * kElement);
  std::int64_t updated = 0;
  for (const GradientBucket& bucket : plan.buckets) {
    plan.updated.push_back(stage.shards_optimizer
                               ? share_of(bucket.elements, stage.replicas, stage.replica)
                               : bucket.elements);
    updated += plan.updated.back().size();
  }
  for (int i = 0; i < stage.optimizer_states; ++i) {
    plan.optimizer_states.push_back(plan.arena.add("optimizer state", updated * kElement));
  }
  if (stage.exchange_bytes > 0) {
    plan.exchange = plan.arena.add("gradients of replicas", stage.exchange_bytes);
  }
}

void plan_parameters(const StageGraph& graph, const StageMemory& stage, MemoryPlan& plan) {
  Beside beside;
  for (const LayerPlan& layer : graph.layers) {
    std::vector<Place>& places = plan.parameter.emplace_back();
    for (const ParameterSpec& parameter : layer.parameters) {
      places.push_back(beside.add(parameter.spec));
    }
  }
  const std::int64_t bytes = beside.bytes();
  plan.flat = row_major({bytes / size_of(DType::kF32)});
  plan.parameters = plan.arena.add("parameters", bytes);
  plan.gradients = plan.arena.add("gradients of parameters", bytes);
  if (stage.runs > 1) {
    plan.run_gradients = plan.arena.add("gradients of runs", bytes, stage.runs - 1);
  }
  const GradientTree tree = tree_of_run(stage);
  for (int i = 0; i < tree.waiting_sums(); ++i) {
    plan.waiting_gradients.push_back(plan.arena.add("gradients of groups", bytes, stage.runs));
  }
  plan_updates(graph, stage, plan);
  set_region(plan.parameter, plan.parameters);
  if (std::ranges::any_of(graph.layers, [](const LayerPlan& layer) {
        return !layer.parameters.empty() && layer.inputs[0].dtype == DType::kBF16;
      })) {
    plan_copies(bytes / 2, plan);
  }
}

// [count, ...]
Shape stacked(std::int64_t count, const Shape& shape) {
  const Shape ones[] = {{1}, {1, 1}, {1, 1, 1}, {1, 1, 1, 1}};
  STAGECOACH_CHECK(shape.rank() < Shape::kMaxRank, "plan_memory",
                   "what a layer keeps of a micro-batch, of rank 3 at most", shape.to_string());
  Shape result = ones[shape.rank()].with(0, count);
  for (int i = 0; i < shape.rank(); ++i) result = result.with(i + 1, shape[i]);
  return result;
}

// What layers keep beside their parameters. The entries of a step's micro-batches follow each other
// without gaps: end_step() reads them as one tensor.
void plan_layer_state(const StageGraph& graph, const StageMemory& stage, MemoryPlan& plan) {
  Beside buffers, step_state, prepared, weight_state;
  for (const LayerPlan& layer : graph.layers) {
    plan.buffer.emplace_back();
    plan.step_state_of.emplace_back();
    for (const BufferSpec& buffer : layer.buffers) {
      plan.buffer.back().push_back(buffers.add(buffer.spec));
    }
    plan.prepared_of.emplace_back();
    plan.weight_state_of.emplace_back();
    for (const TensorSpec& spec : layer.prepared) {
      plan.prepared_of.back().push_back(prepared.add(spec));
    }
    for (const TensorSpec& spec : layer.weight_state) {
      plan.weight_state_of.back().push_back(weight_state.add(spec));
    }
    for (const TensorSpec& spec : layer.step_state) {
      plan.step_state_of.back().push_back(
          step_state.add(row_major(stacked(stage.micro_batches, spec.shape), spec.dtype)));
    }
  }
  const auto add = [&](const char* name, const Beside& beside, PlacesByLayer& places, int& region,
                       int count = 1) {
    if (beside.bytes() > 0) region = plan.arena.add(name, beside.bytes(), count);
    set_region(places, region);
  };
  add("buffers of layers", buffers, plan.buffer, plan.buffers);
  add("kept until the step ends", step_state, plan.step_state_of, plan.step_state);
  add("prepared weights", prepared, plan.prepared_of, plan.prepared);
  add("weight gradients in the making", weight_state, plan.weight_state_of, plan.weight_state,
      stage.runs);
}

// Copies of what comes from another device: all tensors of a message beside each other.
std::vector<MaybePlace> plan_message(const StageGraph& graph, const std::vector<int>& message,
                                     const char* name, int count, MemoryPlan& plan, int& region) {
  Packer packer;
  for (const int v : message) packer.add(graph.values[v].spec);
  region = packer.pack(plan.arena, name, count);
  std::vector<MaybePlace> places(graph.values.size());
  for (std::size_t i = 0; i < message.size(); ++i) {
    places[message[i]] = packer.place(static_cast<int>(i));
  }
  return places;
}

void plan_received(const StageGraph& graph, const StageMemory& stage, MemoryPlan& plan) {
  plan.received.resize(graph.values.size());
  plan.received_gradient.resize(graph.values.size());
  if (stage.receives_activations) {
    plan.received = plan_message(graph, graph.received, "received activations", stage.received,
                                 plan, plan.received_activations);
  }
  if (stage.receives_gradients) {
    plan.received_gradient = plan_message(graph, graph.gradients_received, "received gradients",
                                          stage.received_gradients, plan, plan.received_gradients);
  }
}

// What a loss says of each sample, for all of a step: losses, and where it knows right answers.
void plan_results(const StageGraph& graph, const StageMemory& stage, MemoryPlan& plan) {
  if (graph.has_next) return;
  const TensorSpec losses = row_major({stage.loss_rows});
  plan.losses = Place{plan.arena.add("losses", losses.bytes()), 0, losses};
  if (graph.layers[graph.loss()].outputs.size() < 2) return;
  const TensorSpec correct = row_major({stage.loss_rows}, DType::kI32);
  plan.correct = Place{plan.arena.add("right answers", correct.bytes()), 0, correct};
}

}  // namespace

GradientTree tree_of_run(const StageMemory& stage) {
  STAGECOACH_CHECK(
      stage.runs >= 1 && stage.gradient_groups % stage.runs == 0 &&
          stage.micro_batches % stage.runs == 0,
      "gradient groups",
      fmt::format("whole groups in each of {} runs of micro-batches", stage.runs),
      fmt::format("{} groups of {} micro-batches", stage.gradient_groups, stage.micro_batches));
  return GradientTree(stage.gradient_groups / stage.runs, stage.micro_batches / stage.runs);
}

StageMemory memory_of_stage(const BufferCounts& buffers, int s, StageMemory memory) {
  memory.slots = buffers.slots[s];
  memory.received = buffers.received[s];
  memory.received_gradients = buffers.received_gradients[s];
  memory.gradient_slots = buffers.gradient_slots[s];
  memory.outputs = buffers.outputs[s];
  memory.input_gradients = buffers.input_gradients[s];
  return memory;
}

MemoryPlan plan_memory(const StageGraph& graph, const StageMemory& stage) {
  const int least =
      std::min({stage.slots, stage.received, stage.gradient_slots, stage.received_gradients,
                stage.outputs, stage.input_gradients, stage.micro_batches});
  STAGECOACH_CHECK(
      !graph.layers.empty() && least >= 1 && stage.optimizer_states >= 0 &&
          stage.recompute_interval >= 0,
      "plan_memory", "layers, at least one buffer of each kind, and nothing negative",
      fmt::format("{} layers, {} buffers of a kind, {} optimizer states, every {} "
                  "layers recomputed",
                  graph.layers.size(), least, stage.optimizer_states, stage.recompute_interval));
  const MicroBatchOrder order(graph, stage);
  MemoryPlan plan;
  plan.segments = order.segments;
  plan_parameters(graph, stage, plan);
  plan_layer_state(graph, stage, plan);
  plan_values(graph, stage, order, plan);
  plan_gradients(graph, stage, order, plan);
  plan_received(graph, stage, plan);
  std::int64_t workspace = stage.least_workspace_bytes;
  for (const LayerPlan& layer : graph.layers) {
    workspace = std::max(workspace, layer.workspace_bytes);
  }
  plan.workspace = plan.arena.add("workspace", workspace);
  plan_results(graph, stage, plan);
  return plan;
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
