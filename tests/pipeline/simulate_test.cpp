#include "pipeline/simulate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "core/error.h"
#include "tests/pipeline/table_text.h"

namespace stagecoach {
namespace {

Simulation simulated(const Schedule& schedule, const std::vector<StageCosts>& costs) {
  return simulate(schedule, costs, default_buffers(schedule));
}

std::vector<StageCosts> equal_costs(int stages, StageCosts costs) {
  return std::vector<StageCosts>(static_cast<std::size_t>(stages), costs);
}

// F and B only: what the papers' formulas count.
std::vector<StageCosts> random_costs_without_weights(int stages, std::mt19937& random) {
  std::vector<StageCosts> costs;
  for (int stage = 0; stage < stages; ++stage) {
    const double forward = 1 + static_cast<double>(random() % 20);
    const double backward = 1 + static_cast<double>(random() % 20);
    costs.push_back({forward, backward, 0});
  }
  return costs;
}

TEST(Simulate, EveryStartOfASmallTable) {
  // stage 0  F0 F1 .  B0 W0 .  B1 W1
  // stage 1  .  F0 B0 W0 F1 B1 W1 .
  const Schedule schedule = one_f_one_b_schedule(2, 2);
  const Simulation simulation = simulated(schedule, equal_costs(2, {1, 1, 1}));
  std::vector<double> starts;
  for (std::size_t i = 0; i < simulation.actions.size(); ++i) {
    const SimulatedAction& simulated_action = simulation.actions[i];
    EXPECT_EQ(simulated_action.rank, i < 6 ? 0 : 1);
    EXPECT_EQ(simulated_action.action, schedule.ranks[i / 6][i % 6]);
    EXPECT_EQ(simulated_action.end, simulated_action.start + 1);
    starts.push_back(simulated_action.start);
  }
  EXPECT_EQ(starts, (std::vector<double>{0, 1, 3, 4, 6, 7, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(simulation.makespan, 8);
  EXPECT_EQ(simulation.busy, (std::vector<double>{6, 6}));
  EXPECT_EQ(simulation.bubble(), 0.25);
}

TEST(Simulate, GradientLeavesBeforeTheWeights) {
  // So the pipeline is filled with F and emptied with B, and W costs nothing on the way: with equal
  // stages GPipe and 1F1B take (K - 1)(f + b) + M(f + b + w).
  std::mt19937 random(1);
  for (int stages = 1; stages <= 9; ++stages) {
    for (int micro_batches = 1; micro_batches <= 12; ++micro_batches) {
      const double f = 1 + static_cast<double>(random() % 9);
      const double b = 1 + static_cast<double>(random() % 9);
      const double w = static_cast<double>(random() % 9);
      const double expected = (stages - 1) * (f + b) + micro_batches * (f + b + w);
      const auto costs = equal_costs(stages, {f, b, w});
      EXPECT_EQ(simulated(gpipe_schedule(stages, micro_batches), costs).makespan, expected);
      EXPECT_EQ(simulated(one_f_one_b_schedule(stages, micro_batches), costs).makespan, expected)
          << stages << " stages, " << micro_batches << " micro-batches, " << f << b << w;
    }
  }
}

TEST(Simulate, TextbookBubbleWithEqualStages) {
  for (int stages = 1; stages <= 16; ++stages) {
    for (int micro_batches = 1; micro_batches <= 16; ++micro_batches) {
      const auto costs = equal_costs(stages, {1, 2, 0});
      const double expected = (stages - 1.0) / (micro_batches + stages - 1.0);
      for (const char* name : {"gpipe", "1f1b"}) {
        const Schedule schedule = make_schedule(name, stages, micro_batches);
        EXPECT_NEAR(simulated(schedule, costs).bubble(), expected, 1e-12) << name;
        EXPECT_NEAR(textbook_bubble(schedule), expected, 1e-12);
      }
      const Schedule naive = naive_schedule(stages, micro_batches);
      EXPECT_NEAR(simulated(naive, costs).bubble(), 1 - 1.0 / stages, 1e-12);
      EXPECT_NEAR(textbook_bubble(naive), 1 - 1.0 / stages, 1e-12);
      const Schedule forward = forward_only_schedule(stages, micro_batches);
      EXPECT_NEAR(simulated(forward, costs).bubble(), expected, 1e-12);
      EXPECT_NEAR(textbook_bubble(forward), expected, 1e-12);
    }
  }
}

TEST(Simulate, GpipeFormulaWithUnequalStages) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    const int stages = 1 + static_cast<int>(random() % 8);
    const int micro_batches = 1 + static_cast<int>(random() % 12);
    const auto costs = random_costs_without_weights(stages, random);
    double sum = 0, most_forward = 0, most_backward = 0;
    for (const StageCosts& cost : costs) {
      sum += cost.forward + cost.backward_input;
      most_forward = std::max(most_forward, cost.forward);
      most_backward = std::max(most_backward, cost.backward_input);
    }
    EXPECT_EQ(simulated(gpipe_schedule(stages, micro_batches), costs).makespan,
              sum + (micro_batches - 1) * (most_forward + most_backward));
    EXPECT_EQ(simulated(naive_schedule(stages, micro_batches), costs).makespan,
              micro_batches * sum);
  }
}

TEST(Simulate, CommunicationChangesNoTime) {
  std::mt19937 random(3);
  for (const std::string& name : schedule_names()) {
    for (int round = 0; round < 50; ++round) {
      const int stages = 1 + static_cast<int>(random() % 6);
      const int micro_batches = 1 + static_cast<int>(random() % 8);
      auto costs = random_costs_without_weights(stages, random);
      for (StageCosts& cost : costs) cost.backward_weight = static_cast<double>(random() % 20);
      const Schedule schedule = make_schedule(name, stages, micro_batches);
      const Simulation plain = simulated(schedule, costs);
      const Simulation full = simulated(with_communication(schedule), costs);
      EXPECT_EQ(full.makespan, plain.makespan);
      EXPECT_EQ(full.busy, plain.busy);
      std::size_t next = 0;
      for (const SimulatedAction& action : full.actions) {
        if (action.action.kind > ActionKind::kBackwardWeight) {
          EXPECT_EQ(action.start, action.end);
          continue;
        }
        ASSERT_EQ(action.action, plain.actions[next].action);
        EXPECT_EQ(action.start, plain.actions[next].start);
        EXPECT_EQ(action.end, plain.actions[next].end);
        ++next;
      }
      EXPECT_EQ(next, plain.actions.size());
    }
  }
}

TEST(Simulate, WaitsForBuffers) {
  // Stage 1 is slow. With one gradient buffer, its B1 waits for stage 0's W0.
  const Schedule gpipe = gpipe_schedule(2, 2);
  const std::vector<StageCosts> costs{{1, 1, 5}, {1, 1, 0}};
  const auto start_of = [](const Simulation& simulation, const Action& wanted) {
    for (const SimulatedAction& simulated_action : simulation.actions) {
      if (simulated_action.action == wanted) return simulated_action.start;
    }
    return -1.0;
  };
  const Action b1{ActionKind::kBackwardInput, 1, 1};
  EXPECT_EQ(start_of(simulate(gpipe, costs, {{2, 2}, {2, 2}}), b1), 4);
  EXPECT_EQ(start_of(simulate(gpipe, costs, {{2, 2}, {1, 1}}), b1), 10);  // 3 + 1 + 1 + 5

  // With one slot, stage 0's second F waits until stage 1 has read the first.
  const Schedule forward = forward_only_schedule(2, 2);
  const Action f1{ActionKind::kForward, 0, 1};
  EXPECT_EQ(start_of(simulate(forward, equal_costs(2, {3, 0, 0}), {{2, 1}, {1, 1}}), f1), 3);
  EXPECT_EQ(start_of(simulate(forward, equal_costs(2, {3, 0, 0}), {{1, 1}, {1, 1}}), f1), 6);

  // One micro-batch at a time, one slot: micro-batch 1 starts when both stages have freed
  // micro-batch 0's.
  const Schedule naive = naive_schedule(2, 2);
  const std::vector<StageCosts> slow_weights{{1, 1, 1}, {1, 1, 7}};
  EXPECT_EQ(start_of(simulate(naive, slow_weights, {{1, 1}, {1, 1}}), f1), 10);
  EXPECT_EQ(start_of(simulate(naive, slow_weights, {{2, 2}, {1, 1}}), f1), 5);
}

TEST(Simulate, SeveralStagesOnOneRank) {
  const Schedule schedule = table(3, 1, {"0F0 2F0 2B0 2W0 0B0 0W0", "1F0 1B0 1W0"});
  const Simulation simulation = simulated(schedule, equal_costs(3, {1, 1, 1}));
  EXPECT_EQ(simulation.makespan, 7);  // F F F, B (its W hides behind stage 1's B), B, B, W
  EXPECT_EQ(simulation.busy, (std::vector<double>{6, 3}));
  EXPECT_EQ(simulated(with_communication(schedule), equal_costs(3, {1, 1, 1})).makespan, 7);
}

TEST(Simulate, RefusesWhatCannotRun) {
  const Schedule schedule = gpipe_schedule(2, 2);
  const BufferCounts buffers = default_buffers(schedule);
  EXPECT_THROW(simulate(schedule, equal_costs(3, {}), buffers), Error);
  EXPECT_THROW(simulate(schedule, equal_costs(2, {-1, 1, 1}), buffers), Error);
  EXPECT_THROW(
      simulate(schedule, equal_costs(2, {1, std::numeric_limits<double>::quiet_NaN(), 1}), buffers),
      Error);
  EXPECT_THROW(simulate(schedule, equal_costs(2, {}), {{1, 2}, {2, 2}}), Error);
  const Schedule stuck = table(1, 1, {"0B0 0F0 0W0"});
  EXPECT_EQ(error_of([&] {
              simulate(stuck, equal_costs(1, {}), {{1}, {1}});
            }),
            error_of([&] {
              check(stuck, {{1}, {1}});
            }));
  EXPECT_NE(error_of([&] { simulate(stuck, equal_costs(1, {}), {{1}, {1}}); }), "");
}

TEST(Simulate, LargeTable) {
  const int stages = 128, micro_batches = 1024;
  const Schedule schedule = one_f_one_b_schedule(stages, micro_batches);
  const Simulation simulation = simulated(schedule, equal_costs(stages, {1, 1, 1}));
  EXPECT_EQ(simulation.makespan, (stages - 1) * 2 + micro_batches * 3);
  EXPECT_EQ(simulation.actions.size(), static_cast<std::size_t>(stages) * micro_batches * 3);
}

TEST(Simulate, BubbleOfNothing) {
  EXPECT_EQ(Simulation{}.bubble(), 0);
  EXPECT_EQ(simulated(gpipe_schedule(2, 2), equal_costs(2, {0, 0, 0})).bubble(), 0);
}

TEST(Simulate, Imbalance) {
  EXPECT_EQ(imbalance({}), 0);
  EXPECT_EQ(imbalance({0, 0}), 0);
  EXPECT_EQ(imbalance({3, 3, 3}), 0);
  EXPECT_EQ(imbalance({1, 3}), 1 - 2.0 / 3.0);
  EXPECT_EQ(imbalance({4, 0, 0, 0}), 0.75);
}

}  // namespace
}  // namespace stagecoach
