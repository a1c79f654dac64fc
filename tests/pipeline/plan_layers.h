// Layers that are only plans, networks of them, and plans of their memory that hold.
#pragma once

#include <fmt/format.h>

#include <random>
#include <set>
#include <vector>

#include "pipeline/memory_plan.h"
#include "tests/pipeline/plan_replay.h"

namespace stagecoach::testing {

inline constexpr std::int64_t kSize = 1000;  // elements of a tensor; no multiple of the alignment

// A layer from one tensor to another of the same size, as the fields say.
struct Flags {
  bool in_place = false, parameters = false, needs_input = false, needs_output = false;
  int saved = 0;
};
inline constexpr Flags kConvolution{.parameters = true, .needs_input = true};
inline constexpr Flags kRelu{.in_place = true, .needs_output = true};
inline constexpr Flags kDropout{.in_place = true};
inline constexpr Flags kPool{.saved = 1};

inline LayerPlan layer(const Flags& flags, std::int64_t from = kSize, std::int64_t to = kSize) {
  LayerPlan plan;
  plan.inputs = {channels_last(1, 1, from, 1)};
  plan.outputs = {channels_last(1, 1, to, 1)};
  plan.in_place = flags.in_place;
  plan.inputs_needed_by_weight = flags.needs_input;
  plan.outputs_needed_by_input = flags.needs_output;
  plan.workspace_bytes = from;
  if (flags.parameters) {
    plan.parameters = {{"weight", row_major({from}), {}}, {"bias", row_major({3}), {}}};
  }
  for (int i = 0; i < flags.saved; ++i) plan.saved.push_back(row_major({to + i}, DType::kU8));
  return plan;
}

inline std::vector<LayerPlan> layers(const std::vector<Flags>& list) {
  std::vector<LayerPlan> plans;
  for (const Flags& flags : list) plans.push_back(layer(flags));
  return plans;
}

inline LayerPlan loss(const TensorSpec& prediction) {
  LayerPlan plan;
  plan.inputs = {prediction, row_major({1}, DType::kI32)};
  plan.outputs = {row_major({1}), row_major({1}, DType::kI32)};
  plan.saved = {prediction};
  plan.saved_is_input_grad = true;
  plan.differentiable = {true, false};
  return plan;
}

// A network with its edges.
struct Graph {
  std::vector<LayerPlan> plans;  // the loss last
  NetworkEdges edges;
  int size() const { return static_cast<int>(edges.size()); }
  StageGraph stage(int first, int end) const { return stage_graph(plans, edges, first, end); }
};

// Each layer fed by the one before.
inline Graph list_of(std::vector<LayerPlan> plans) {
  Graph graph{std::move(plans), {}};
  for (int i = 0; i < static_cast<int>(graph.plans.size()); ++i)
    graph.edges.push_back({{i - 1, 0}});
  graph.plans.push_back(loss(graph.plans.back().outputs[0]));
  return graph;
}

// These layers as a stage, with others before and behind where `previous` and `next` say so.
inline StageGraph between(std::vector<LayerPlan> list, bool previous, bool next) {
  const auto count = static_cast<int>(list.size());
  const std::int64_t from = list.front().inputs[0].elements();
  const std::int64_t to = list.back().outputs[0].elements();
  if (previous) list.insert(list.begin(), layer(kConvolution, from, from));
  if (next) list.push_back(layer(kConvolution, to, to));
  return list_of(list).stage(previous ? 1 : 0, (previous ? 1 : 0) + count);
}
inline StageGraph whole(const std::vector<LayerPlan>& list) {
  return between(list, false, false);
}

inline StageMemory one_of_each() {
  return {.loss_rows = 6, .optimizer_states = 1};
}

inline bool same_place(const Place& a, const Place& b) {
  return a.region == b.region && a.offset == b.offset;
}

inline const Region& region(const MemoryPlan& plan, int number) {
  return plan.arena.regions().at(number);
}

// A plan, and where the layers of a list write.
struct Planned : MemoryPlan {
  Planned(MemoryPlan plan, StageGraph of) : MemoryPlan(std::move(plan)), graph(std::move(of)) {}
  const MaybePlace& output(int layer) const { return value[graph.outputs[layer][0]]; }
  const MaybePlace& second_output(int layer) const { return second[graph.outputs[layer][0]]; }
  const MaybePlace& output_grad(int layer) const { return gradient[graph.outputs[layer][0]]; }
  const MaybePlace& input_grad() const { return gradient[graph.received[0]]; }
  StageGraph graph;
};

inline void expect_aligned(const MemoryPlan& plan) {
  std::int64_t end = 0;
  for (const Region& one : plan.arena.regions()) {
    EXPECT_EQ(one.offset, end) << one.name;
    EXPECT_EQ(one.offset % Buffer::kAlignment, 0) << one.name;
    EXPECT_EQ(one.bytes % Buffer::kAlignment, 0) << one.name;
    end += one.bytes * one.count;
  }
  EXPECT_EQ(plan.arena.bytes(), end);
}

// The parameters of all layers beside each other, and nothing else.
inline void expect_parameters(const std::vector<LayerPlan>& layers, const MemoryPlan& plan) {
  std::int64_t end = 0;
  ASSERT_EQ(plan.parameter.size(), layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    ASSERT_EQ(plan.parameter[i].size(), layers[i].parameters.size());
    for (std::size_t p = 0; p < plan.parameter[i].size(); ++p) {
      const Place& place = plan.parameter[i][p];
      EXPECT_EQ(place.spec, layers[i].parameters[p].spec);
      EXPECT_EQ(place.region, plan.parameters);
      EXPECT_EQ(place.offset % Buffer::kAlignment, 0);
      EXPECT_GE(place.offset, end);
      EXPECT_LT(place.offset, end + Buffer::kAlignment);
      end = place.offset + place.spec.bytes();
    }
  }
  EXPECT_LE(end, plan.flat.bytes());
  std::vector<int> like = plan.optimizer_states;
  like.insert(like.end(), {plan.parameters, plan.gradients});
  for (const int number : like) EXPECT_EQ(region(plan, number).bytes, plan.flat.bytes());
  EXPECT_EQ(std::set<int>(like.begin(), like.end()).size(), like.size());
}

inline Planned expect_sound(const StageGraph& graph, const StageMemory& stage = one_of_each()) {
  const MemoryPlan plan = plan_memory(graph, stage);
  PlanReplay(graph, stage, plan).run();
  expect_aligned(plan);
  expect_parameters(graph.layers, plan);
  EXPECT_EQ(region(plan, plan.slots).count, stage.slots);
  EXPECT_EQ(region(plan, plan.gradient_slots).count, stage.gradient_slots);
  EXPECT_EQ(static_cast<int>(plan.optimizer_states.size()), stage.optimizer_states);
  EXPECT_EQ(plan.input_gradients >= 0, graph.has_previous());
  if (graph.has_previous()) {
    EXPECT_EQ(region(plan, plan.input_gradients).count, stage.input_gradients);
  }
  EXPECT_EQ(plan.outputs >= 0, graph.has_next);
  if (graph.has_next) {
    EXPECT_EQ(region(plan, plan.outputs).count, stage.outputs);
  } else {
    EXPECT_EQ(plan.losses->spec, row_major({stage.loss_rows}));
    EXPECT_EQ(plan.correct->spec, row_major({stage.loss_rows}, DType::kI32));
    EXPECT_NE(plan.losses->region, plan.correct->region);
  }
  return {plan, graph};
}

// Every way to cut out a stage: first, middle, last and single ones.
template <typename Visit>
inline void for_each_cut(const Graph& network, const Visit& visit) {
  for (int first = 0; first < network.size(); ++first) {
    for (int end = first + 1; end <= network.size(); ++end) {
      SCOPED_TRACE(fmt::format("layers {} to {}", first, end - 1));
      visit(network.stage(first, end));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

inline StageMemory random_memory(std::mt19937& random) {
  const auto at_most = [&](unsigned most) { return 1 + static_cast<int>(random() % most); };
  StageMemory memory = one_of_each();
  memory.slots = at_most(4);
  memory.gradient_slots = at_most(3);
  memory.input_gradients = at_most(3);
  memory.optimizer_states = at_most(3) - 1;
  memory.outputs = at_most(3);
  memory.recomputes = at_most(2) == 1;
  memory.recompute_interval = at_most(4) - 1;
  return memory;
}

}  // namespace stagecoach::testing
