#include "pipeline/stage_reach.h"

#include "tests/pipeline/plan_layers.h"

namespace stagecoach {
namespace {

using namespace testing;  // NOLINT: all of plan_layers.h

// Convolutions, one on each stage; layers with a second input read what layer `from` makes, too.
std::vector<StageGraph> stages(int count, const std::vector<std::pair<int, int>>& skips) {
  Graph graph = list_of(layers(std::vector<Flags>(static_cast<std::size_t>(count), kConvolution)));
  for (const auto& [at, from] : skips) {
    graph.plans[at].inputs.push_back(graph.plans[at].inputs[0]);
    graph.edges[at].push_back({from, 0});
  }
  std::vector<StageGraph> result;
  for (int s = 0; s < count; ++s) result.push_back(graph.stage(s, s + 1));
  return result;
}
std::vector<bool> nothing_copied(int count) {
  return std::vector<bool>(static_cast<std::size_t>(count), false);
}

TEST(StageReach, AListReachesItsNeighboursOnly) {
  const Reach reach = reach_of(stages(4, {}), nothing_copied(4));
  EXPECT_TRUE(reach.last_reader.empty());
  EXPECT_TRUE(reach.first_reader.empty());
}

TEST(StageReach, WhatIsHandedOnIsReadFarAway) {
  // Stage 3 reads what 0 makes; its gradient goes from 3 to 0, where all parts are.
  const Reach reach = reach_of(stages(5, {{3, 0}}), nothing_copied(5));
  EXPECT_EQ(reach.last_reader, (std::vector<int>{3, 2, 3, 4, 5}));
  // Stage 1 adds its part to what 3 sends up: it reads it, and 0 reads the sum.
  EXPECT_EQ(reach.first_reader, (std::vector<int>{-1, 0, 1, 1, 3}));
}

TEST(StageReach, TheBatchHasNoBufferToWaitFor) {
  const Reach reach = reach_of(stages(4, {{3, -1}}), nothing_copied(4));
  EXPECT_TRUE(reach.last_reader.empty());
}

TEST(StageReach, CopiesAreHandedOnInsteadOfTheOriginals) {
  std::vector<bool> copied = nothing_copied(5);
  copied[2] = true;  // stages 0 and 1 on one device, the others on another
  const Reach reach = reach_of(stages(5, {{3, 0}}), copied);
  // Stage 2 copies what 0 made; 3 reads the copy of 2.
  EXPECT_EQ(reach.last_reader, (std::vector<int>{2, 2, 3, 4, 5}));
  // Stage 1 copies what 3 sent, through 2.
  EXPECT_EQ(reach.first_reader, (std::vector<int>{-1, 0, 1, 1, 3}));
}

}  // namespace
}  // namespace stagecoach
