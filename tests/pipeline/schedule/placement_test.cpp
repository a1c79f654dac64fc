#include "pipeline/schedule/placement.h"

#include <gtest/gtest.h>

#include <vector>

#include "pipeline/schedule/generators.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

TEST(Placement, OneRankForEachStage) {
  const Placement placement(table(4, 1, {"0F0 3F0", "2F0 1F0"}));
  EXPECT_EQ(placement.ranks(), (std::vector<int>{0, 1, 1, 0}));
  EXPECT_EQ(placement.rank_of(3, 0), 0);
  EXPECT_EQ(placement.groups(), 1);
  EXPECT_TRUE(placement.apart(0, 0));
  EXPECT_FALSE(placement.apart(1, 0));
}

TEST(Placement, OfTablesWithFaults) {
  EXPECT_EQ(Placement(table(2, 1, {"0F0"})).ranks(), (std::vector<int>{0, -1}));
  EXPECT_EQ(Placement(table(1, 1, {"0B0", "0W0"})).ranks(), (std::vector<int>{0}));
  EXPECT_EQ(Placement(Schedule{}).ranks(), std::vector<int>{});
  // Three of five: every micro-batch still has a rank.
  const Placement three(table(1, 5, {"0F0 0F1", "0F2 0F3", "0F4"}));
  for (int micro = 0; micro < 5; ++micro) EXPECT_EQ(three.rank_of(0, micro), micro / 2);
}

TEST(Placement, BlocksOfReplicasInTheOrderOfTheirMicroBatches) {
  const Placement placement(table(2, 4, {"0F2 0F3", "1F0 1F2 1F1 1F3", "0F1 0F0"}));
  EXPECT_EQ(placement.ranks(), (std::vector<int>{2, 0, 1}));
  EXPECT_EQ(placement.replicas(0), 2);
  EXPECT_EQ(placement.replicas(1), 1);
  EXPECT_EQ(placement.groups(), 2);
  EXPECT_EQ(placement.group_size(), 2);
  EXPECT_EQ(placement.groups_of_replica(0), 1);
  EXPECT_EQ(placement.groups_of_replica(1), 2);
  EXPECT_EQ(placement.rank_of(0, 1), 2);
  EXPECT_EQ(placement.rank_of(0, 2), 0);
  EXPECT_EQ(placement.block(0), 2);
  EXPECT_EQ(placement.block_begin(0, 3), 2);
  EXPECT_EQ(placement.pairs(0), 2);
  EXPECT_EQ(placement.pair_of(0, 1), 0);
  EXPECT_EQ(placement.pair_of(0, 2), 1);
}

TEST(Placement, NumbersOfAReplicaTakeItsGroupsInTurn) {
  const Placement placement(make_replicated_schedule("gpipe", {4, 2, 1}, 3));
  const auto numbers = [&](int stage) {
    std::vector<int> all;
    for (int micro = 0; micro < 12; ++micro) all.push_back(placement.number_of(stage, micro));
    return all;
  };
  EXPECT_EQ(numbers(0), (std::vector<int>{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(numbers(1), (std::vector<int>{0, 2, 4, 1, 3, 5, 0, 2, 4, 1, 3, 5}));
  EXPECT_EQ(numbers(2), (std::vector<int>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
  for (int stage = 0; stage < 3; ++stage) {
    for (int micro = 0; micro < 12; ++micro) {
      EXPECT_EQ(placement.micro_batch_of(stage, placement.block_begin(stage, micro),
                                         placement.number_of(stage, micro)),
                micro);
    }
  }
}

}  // namespace
}  // namespace stagecoach
