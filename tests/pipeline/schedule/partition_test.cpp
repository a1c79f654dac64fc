#include "pipeline/schedule/partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <random>

#include "core/error.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/simulate.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

double most_expensive(const LayerCosts& costs, const Partition& partition) {
  double most = 0;
  for (int stage = 0; stage < partition.stages(); ++stage) {
    double cost = 0;
    for (int i = partition.first[stage]; i < partition.end(stage); ++i) cost += costs[i];
    most = std::max(most, cost);
  }
  return most;
}

// All ways to cut, as bits between the layers.
Partition by_brute_force(const LayerCosts& costs, int stages) {
  const int layers = static_cast<int>(costs.size());
  Partition best;
  for (unsigned cuts = 0; cuts < (1U << (layers - 1)); ++cuts) {
    if (std::popcount(cuts) != stages - 1) continue;
    Partition partition{{0}, layers};
    for (int i = 1; i < layers; ++i) {
      if ((cuts >> (i - 1)) & 1U) partition.first.push_back(i);
    }
    const bool first = best.first.empty();
    const double cost = most_expensive(costs, partition);
    const double least = first ? 0 : most_expensive(costs, best);
    if (first || cost < least || (cost == least && partition.first < best.first)) best = partition;
  }
  return best;
}

TEST(Partition, EqualsBruteForce) {
  std::mt19937 random(1);
  for (int layers = 1; layers <= 12; ++layers) {
    for (int stages = 1; stages <= layers; ++stages) {
      for (int round = 0; round < 6; ++round) {
        LayerCosts costs;
        for (int i = 0; i < layers; ++i) {
          // Few different whole numbers: many ties. And any numbers.
          costs.push_back(round % 2 == 0 ? static_cast<double>(random() % 4)
                                         : static_cast<double>(random()) / 1e9);
        }
        const Partition partition = partition_by_cost(costs, stages);
        EXPECT_EQ(partition.layers, layers);
        ASSERT_EQ(partition.first, by_brute_force(costs, stages).first);
      }
    }
  }
}

TEST(Partition, KnownCuts) {
  EXPECT_EQ(partition_by_cost({1, 1, 1, 1}, 2).first, (std::vector<int>{0, 2}));
  EXPECT_EQ(partition_by_cost({1, 1, 1, 9}, 2).first, (std::vector<int>{0, 3}));
  EXPECT_EQ(partition_by_cost({2, 1, 1, 9}, 3).first, (std::vector<int>{0, 1, 3}));  // a tie
  EXPECT_EQ(partition_by_cost({9, 1, 1, 1}, 3).first, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(partition_by_cost({0, 0, 0}, 3).first, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(partition_by_cost({5}, 1).first, (std::vector<int>{0}));
  const Partition partition{{0, 3, 10}, 12};
  EXPECT_EQ(partition.stages(), 3);
  EXPECT_EQ(partition.end(0), 3);
  EXPECT_EQ(partition.end(2), 12);
}

TEST(Partition, RefusesWhatCannotBeCut) {
  EXPECT_THROW(partition_by_cost({1, 1}, 3), UsageError);
  EXPECT_THROW(partition_by_cost({1, 1}, 0), UsageError);
  EXPECT_THROW(partition_by_cost({}, 1), UsageError);
  EXPECT_EQ(error_of([] {
              partition_by_cost({1, 1}, 3);
            }),
            "partition_by_cost: expected 1 to 2 stages for 2 layers, got 3; every stage needs a "
            "layer");
  EXPECT_THROW(partition_by_cost({1, -1}, 1), Error);
  EXPECT_THROW(partition_by_cost({1, std::numeric_limits<double>::infinity()}, 1), Error);
}

TEST(Partition, AtCuts) {
  EXPECT_EQ(partition_at({3, 10}, 12, 3).first, (std::vector<int>{0, 3, 10}));
  EXPECT_EQ(partition_at({3, 10}, 12, 3).layers, 12);
  EXPECT_EQ(partition_at({}, 12, 1).first, (std::vector<int>{0}));
  EXPECT_EQ(partition_at({11}, 12, 2).first, (std::vector<int>{0, 11}));
  const std::vector<std::vector<int>> wrong = {{},     {3},    {3, 10, 11}, {10, 3},
                                               {3, 3}, {0, 3}, {3, 12},     {-1, 3}};
  for (const std::vector<int>& cuts : wrong) EXPECT_THROW(partition_at(cuts, 12, 3), UsageError);
  EXPECT_EQ(error_of([] {
              partition_at({10, 3}, 12, 3);
            }),
            "partition: expected 2 ascending numbers from 1 to 11, separated by commas: the first "
            "layer of each stage but the first, got '10,3'");
  EXPECT_EQ(error_of([] { partition_at({1}, 12, 1); }),
            "partition: expected no cut for 1 stage, got '1'");
  EXPECT_THROW(partition_at({1}, 1, 2), UsageError);
  EXPECT_THROW(partition_at({}, 3, 0), UsageError);
}

TEST(Partition, Description) {
  EXPECT_EQ(describe(Partition{{0, 2}, 3}, {1, 2, 1}, "ms"),
            "stage     layers   cost (ms)   share\n"
            "    0      0 - 1           3   75.0%\n"
            "    1          2           1   25.0%\n"
            "imbalance 33.3%, best possible speed-up 1.333\n");
  EXPECT_EQ(describe(Partition{{0}, 1}, {0}, "parameters"),
            "stage     layers  cost (parameters)   share\n"
            "    0          0                  0    0.0%\n"
            "imbalance 0.0% of the parameters\n");
  EXPECT_THROW(describe(Partition{{0}, 2}, {1}, "ms"), Error);
}

TEST(Partition, AStageOnTwoRanksGetsTwiceTheWork) {
  const LayerCosts costs(6, 1.0);
  const auto cut = [&](const std::vector<int>& replicas) {
    return partition_by_makespan(costs, check(make_replicated_schedule("1f1b", replicas, 16)))
        .first[1];
  };
  EXPECT_EQ(cut({2, 1}), 4);
  EXPECT_EQ(cut({1, 2}), 2);
  EXPECT_EQ(cut({1, 1}), 3);
}

TEST(Partition, SeveralStagesOnARankAreCutForTheShortestStep) {
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    LayerCosts costs;
    for (int i = 0; i < 14; ++i) costs.push_back(1 + static_cast<double>(random() % 100));
    for (const char* name : {"zb-v", "interleaved"}) {
      const Schedule schedule = make_schedule(name, 2, 8);
      const auto makespan = [&](const Partition& partition) {
        SimulationCosts simulated;
        for (int s = 0; s < 4; ++s) {
          double third = 0;
          for (int i = partition.first[s]; i < partition.end(s); ++i) third += costs[i] / 3;
          simulated.stages.push_back({third, third, third});
        }
        return simulate(check(schedule), simulated, BufferLimit::kPlanned, false).makespan;
      };
      const Partition found = partition_by_makespan(costs, check(schedule));
      EXPECT_EQ(found.stages(), 4);
      EXPECT_LE(makespan(found), makespan(partition_by_cost(costs, 4)));
      // No single cut can be moved to make it shorter.
      for (int s = 1; s < 4; ++s) {
        for (int cut = found.first[s - 1] + 1; cut < found.end(s); ++cut) {
          Partition other = found;
          other.first[s] = cut;
          EXPECT_GE(makespan(other), makespan(found) * (1 - 1e-8));
        }
      }
    }
  }
  const LayerCosts costs{1, 5, 2, 7, 3};
  EXPECT_EQ(partition_by_makespan(costs, check(one_f_one_b_schedule(3, 4))).first,
            partition_by_cost(costs, 3).first);
}

}  // namespace
}  // namespace stagecoach
