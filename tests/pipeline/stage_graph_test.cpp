// Networks that are no lists: the values that stages exchange, and plans of their memory.
#include "pipeline/stage_graph.h"

#include <random>

#include "tests/pipeline/plan_layers.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

using namespace testing;  // NOLINT: all of plan_layers.h

// Layers of two inputs, as an addition.
LayerPlan two_inputs() {
  LayerPlan plan = layer({});
  plan.inputs.push_back(plan.inputs[0]);
  return plan;
}

// 0 -> 1 -> 2 -> 3 -> 4 (3 and 0) -> 5 (4 and 1), and the loss.
Graph two_skips() {
  Graph graph = list_of(layers({kConvolution, kConvolution, kConvolution, kConvolution, {}, {}}));
  for (const auto& [at, from] : {std::pair{4, 0}, {5, 1}}) {
    graph.plans[at] = two_inputs();
    graph.edges[at].push_back({from, 0});
  }
  return graph;
}

// The makers, in the network, of the values of a message.
std::vector<int> makers(const StageGraph& stage, const std::vector<int>& message) {
  std::vector<int> result;
  for (const int v : message) {
    // What comes from outside is only known by its order.
    const int maker = stage.values[v].maker;
    result.push_back(maker < 0 ? -1 : stage.first + maker);
  }
  return result;
}

TEST(StageGraph, AMessageIsWhatIsAliveAtTheCut) {
  const Graph graph = two_skips();
  const StageGraph first = graph.stage(0, 2), second = graph.stage(2, 3), third = graph.stage(3, 5),
                   last = graph.stage(5, 6);
  EXPECT_EQ(makers(first, first.sent), (std::vector<int>{0, 1}));
  EXPECT_EQ(second.received.size(), 2U);
  // Values 0 and 1 are handed on, and 1 is read on the way.
  EXPECT_EQ(makers(second, second.sent), (std::vector<int>{-1, -1, 2}));
  EXPECT_TRUE(second.values[second.received[0]].readers.empty());
  EXPECT_EQ(second.values[second.received[1]].readers, (std::vector<ValueReader>{{0, 0}}));
  EXPECT_EQ(third.received.size(), 3U);
  EXPECT_EQ(makers(third, third.sent), (std::vector<int>{-1, 4}));
  EXPECT_EQ(last.received.size(), 2U);
  EXPECT_TRUE(last.sent.empty());
  EXPECT_EQ(last.loss(), 1);
  EXPECT_EQ(third.loss(), -1);
  for (const StageGraph* stage : {&second, &third, &last}) {
    EXPECT_EQ(stage->gradients_sent, stage->received);
  }
  for (const StageGraph* stage : {&first, &second, &third}) {
    EXPECT_EQ(stage->gradients_received, stage->sent);
  }
}

TEST(StageGraph, PartsOfAGradientComeFromTheLastReaderFirst) {
  const Graph graph = two_skips();
  const StageGraph all = graph.stage(0, 6);
  const auto parts = [&](const StageGraph& stage, int v) { return stage.values[v].parts; };
  EXPECT_EQ(parts(all, all.outputs[0][0]), (std::vector<ValueReader>{{4, 1}, {1, 0}}));
  EXPECT_EQ(parts(all, all.outputs[1][0]), (std::vector<ValueReader>{{5, 1}, {2, 0}}));
  EXPECT_TRUE(parts(all, all.received[0]).empty());  // nobody needs the images' gradient
  const StageGraph second = graph.stage(2, 3);
  EXPECT_TRUE(second.values[second.received[0]].gradient_from_next);
  EXPECT_TRUE(parts(second, second.received[0]).empty());
  EXPECT_EQ(parts(second, second.received[1]), (std::vector<ValueReader>{{0, 0}}));
}

TEST(StageGraph, NoGradientWhereALayerHasNone) {
  Graph graph = two_skips();
  graph.plans[4].differentiable = {true, false};
  const StageGraph last = graph.stage(4, 6);
  EXPECT_EQ(last.received.size(), 3U);
  EXPECT_EQ(last.gradients_sent.size(), 2U);  // not that of 0
  graph.plans[4].differentiable = {false, false};
  EXPECT_NE(error_of([&] { graph.stage(2, 4); }), "");  // parameters that nothing depends on
}

// Skips of all kinds: the network's input read late, layers with two outputs, one value read twice
// by a layer, outputs that nobody reads.
Graph random_graph(std::mt19937& random) {
  const auto below = [&](std::size_t limit) { return static_cast<int>(random() % limit); };
  const auto chance = [&] { return random() % 2 == 0; };
  Graph graph;
  std::vector<Network::Value> values = {{-1, 0}};
  std::vector<TensorSpec> specs = {channels_last(1, 1, kSize, 1)};
  for (int i = 0, count = 2 + below(8); i < count; ++i) {
    LayerPlan plan = layer({chance(), chance(), chance(), chance(), below(3)}, kSize,
                           chance() ? kSize : 1 + below(2000));
    plan.inputs_needed_by_input = below(3) == 0;
    plan.inputs.clear();
    // One that the layer before made, so that everything leads to the loss, and any others.
    std::vector<int> fed = {static_cast<int>(values.size()) - 1};
    for (int more = below(3); more > 0; --more) fed.push_back(below(values.size()));
    std::shuffle(fed.begin(), fed.end(), random);
    graph.edges.emplace_back();
    for (const int v : fed) {
      graph.edges.back().push_back(values[v]);
      plan.inputs.push_back(specs[v]);
    }
    if (below(4) == 0) plan.outputs.push_back(row_major({1 + below(900)}));
    if (plan.in_place) plan.outputs[0] = plan.inputs[0];
    for (int k = static_cast<int>(plan.outputs.size()) - 1; k >= 0; --k) {
      values.push_back({i, k});
      specs.push_back(plan.outputs[k]);
    }
    graph.plans.push_back(plan);
  }
  graph.plans.push_back(loss(graph.plans.back().outputs[0]));
  graph.plans.back().saved_is_input_grad = chance();
  return graph;
}

TEST(StageGraph, RandomGraphsCutEverywhereHaveSoundPlans) {
  std::mt19937 random(5);
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE(fmt::format("round {}", round));
    const Graph graph = random_graph(random);
    for_each_cut(graph, [&](const StageGraph& stage) {
      StageMemory memory = random_memory(random);
      memory.receives_activations = stage.has_previous() && random() % 2 == 0;
      memory.receives_gradients = stage.has_next && random() % 2 == 0;
      expect_sound(stage, memory);
    });
    if (HasFailure()) return;
    // Neighbours agree on what they exchange.
    const int cut = 1 + static_cast<int>(random() % static_cast<unsigned>(graph.size() - 1));
    const StageGraph above = graph.stage(0, cut), below = graph.stage(cut, graph.size());
    const auto specs = [](const StageGraph& stage, const std::vector<int>& message) {
      std::vector<TensorSpec> result;
      for (const int v : message) result.push_back(stage.values[v].spec);
      return result;
    };
    ASSERT_EQ(specs(above, above.sent), specs(below, below.received));
    ASSERT_EQ(specs(above, above.gradients_received), specs(below, below.gradients_sent));
  }
}

TEST(StageGraph, RefusesWhatIsNoStage) {
  const Graph graph = two_skips();
  EXPECT_EQ(error_of([&] { graph.stage(3, 7); }),
            "stage_graph: expected plans of all layers and the loss, and layers of the network, "
            "got 7 plans, layers 3 to 6 of 6");
  EXPECT_NE(error_of([&] { graph.stage(3, 3); }), "");
}

}  // namespace
}  // namespace stagecoach
