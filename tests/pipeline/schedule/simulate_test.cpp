#include "pipeline/schedule/simulate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "core/error.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/formula.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/text.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

Simulation simulated(const Schedule& schedule, const std::vector<StageCosts>& costs) {
  return simulate(check(schedule), {costs}, BufferLimit::kPlanned);
}

// So many outputs and input gradients on every stage, and of the rest what it takes.
BufferCounts buffers_of(const Schedule& schedule, int outputs, int input_gradients = 1) {
  BufferCounts buffers = check(schedule).buffers();
  buffers.outputs.assign(buffers.outputs.size(), outputs);
  buffers.input_gradients.assign(buffers.outputs.size(), input_gradients);
  return buffers;
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
  // rank 0  F0 F1 .  .  BW0-- BW1--
  // rank 1  .  F0 BW0-- F1 BW1-- .  (BW1 of rank 0 waits for it)
  const Schedule schedule = one_f_one_b_schedule(2, 2);
  const Simulation simulation = simulated(schedule, equal_costs(2, {1, 1, 1}));
  std::vector<double> starts, ends;
  for (std::size_t i = 0; i < simulation.actions.size(); ++i) {
    const SimulatedAction& simulated_action = simulation.actions[i];
    EXPECT_EQ(simulated_action.rank, i < 4 ? 0 : 1);
    EXPECT_EQ(simulated_action.action, schedule.ranks[i / 4][i % 4]);
    starts.push_back(simulated_action.start);
    ends.push_back(simulated_action.end);
  }
  EXPECT_EQ(starts, (std::vector<double>{0, 1, 4, 7, 1, 2, 4, 5}));
  EXPECT_EQ(ends, (std::vector<double>{1, 2, 6, 9, 2, 4, 5, 7}));
  EXPECT_EQ(simulation.makespan, 9);
  EXPECT_EQ(simulation.longest_span, 9);
  EXPECT_EQ(simulation.busy, (std::vector<double>{6, 6}));
  EXPECT_EQ(simulation.bubble(), 1 - 12.0 / 18.0);
  EXPECT_EQ(simulation.peak_slots, (std::vector<int>{2, 1}));
}

TEST(Simulate, AGradientOfBMayLeaveBeforeTheWeights) {
  // Where B and W are apart, the pipeline is emptied with B, and W costs nothing on the way: GPipe
  // takes (K - 1)(f + b) + M(f + b + w), and with BW (K - 1)(f + b + w) + M(f + b + w).
  std::mt19937 random(1);
  for (int stages = 1; stages <= 9; ++stages) {
    for (int micro_batches = 1; micro_batches <= 12; ++micro_batches) {
      const double f = 1 + static_cast<double>(random() % 9);
      const double b = 1 + static_cast<double>(random() % 9);
      const double w = static_cast<double>(random() % 9);
      const auto costs = equal_costs(stages, {f, b, w});
      const Schedule joint = gpipe_schedule(stages, micro_batches);
      Schedule apart = joint;
      for (std::vector<Action>& actions : apart.ranks) {
        std::vector<Action> split;
        for (const Action& action : actions) {
          split.push_back(action);
          if (action.kind != ActionKind::kBackward) continue;
          split.back().kind = ActionKind::kBackwardInput;
          split.push_back({ActionKind::kBackwardWeight, action.stage, action.micro_batch});
        }
        actions = split;
      }
      EXPECT_EQ(simulated(apart, costs).makespan,
                (stages - 1) * (f + b) + micro_batches * (f + b + w));
      EXPECT_EQ(simulated(joint, costs).makespan, (stages - 1 + micro_batches) * (f + b + w));
    }
  }
}

TEST(Simulate, MessagesTakeTheirTime) {
  // Three stages, one micro-batch: F F F BW BW BW, and four messages between them.
  const Schedule schedule = gpipe_schedule(3, 1);
  SimulationCosts costs{equal_costs(3, {1, 1, 1})};
  costs.latency = 0.25;
  EXPECT_EQ(simulate(check(schedule), costs, BufferLimit::kPlanned).makespan, 9 + 4 * 0.25);
  costs.bandwidth = 10;
  for (StageCosts& stage : costs.stages) stage.output_bytes = 5;
  EXPECT_EQ(simulate(check(schedule), costs, BufferLimit::kPlanned).makespan, 9 + 4 * 0.75);
  // The last one has nobody to send to.
  costs.stages[2].output_bytes = 1e9;
  EXPECT_EQ(simulate(check(schedule), costs, BufferLimit::kPlanned).makespan, 9 + 4 * 0.75);
}

TEST(Simulate, MessagesOfALinkLeaveOneAfterAnother) {
  // Four micro-batches of F that take 1, messages that take 3: the last arrives at 1 + 4 * 3.
  const Schedule schedule = forward_only_schedule(2, 4);
  SimulationCosts costs{equal_costs(2, {1, 1, 1})};
  costs.bandwidth = 1;
  costs.stages[0].output_bytes = 3;
  const Simulation simulation =
      simulate(check(schedule, {.buffers = buffers_of(schedule, 4)}), costs, BufferLimit::kPlanned);
  EXPECT_EQ(simulation.makespan, 1 + 4 * 3 + 1);
  const Schedule full = with_communication(schedule);
  EXPECT_EQ(simulate(check(full, {.buffers = buffers_of(full, 4)}), costs, BufferLimit::kPlanned)
                .makespan,
            simulation.makespan);
}

TEST(Simulate, RecomputeCostsAnF) {
  const Schedule schedule = with_recompute(gpipe_schedule(1, 3), Recompute::kAlways);
  const Simulation simulation = simulated(schedule, equal_costs(1, {2, 3, 5}));
  EXPECT_EQ(simulation.makespan, 3 * (2 + 2 + 3 + 5));
  EXPECT_EQ(simulation.peak_slots, std::vector<int>{1});
  StageCosts dearer{2, 3, 5};
  dearer.recompute = 7;
  dearer.slot_bytes = 100;
  const Simulation other = simulated(schedule, {dearer});
  EXPECT_EQ(other.makespan, 3 * (2 + 7 + 3 + 5));
  EXPECT_EQ(other.peak_bytes, std::vector<double>{100});
  dearer.recompute_in_backward = 0.5;
  EXPECT_EQ(simulated(schedule, {dearer}).makespan, 3 * (2 + 7 + 3 + 0.5 + 5));
}

TEST(Simulate, TheLastWMayCostMore) {
  StageCosts costs{2, 3, 5};
  costs.last_weight = 11;
  EXPECT_EQ(simulated(gpipe_schedule(1, 3), {costs}).makespan, 3 * (2 + 3) + 2 * 5 + 11);
  const Schedule joint = with_joint_backward(gpipe_schedule(1, 3));
  EXPECT_EQ(simulated(joint, {costs}).makespan, 3 * (2 + 3) + 2 * 5 + 11);
  costs.last_weight = 0;
  EXPECT_EQ(simulated(gpipe_schedule(1, 3), {costs}).makespan, 3 * (2 + 3) + 2 * 5);
}

TEST(Simulate, TheLastWOfEachGroupMayCostMore) {
  StageCosts costs{2, 3, 5};
  costs.last_weight = 11;
  const auto makespan = [&](const Schedule& schedule, int group) {
    SimulationCosts all{{costs}};
    all.weight_group = group;
    return simulate(check(schedule), all, BufferLimit::kPlanned).makespan;
  };
  for (const Schedule& schedule :
       {gpipe_schedule(1, 6), with_joint_backward(gpipe_schedule(1, 6))}) {
    EXPECT_EQ(makespan(schedule, 0), 6 * (2 + 3) + 5 * 5 + 11);
    EXPECT_EQ(makespan(schedule, 6), 6 * (2 + 3) + 5 * 5 + 11);
    EXPECT_EQ(makespan(schedule, 3), 6 * (2 + 3) + 4 * 5 + 2 * 11);
    EXPECT_EQ(makespan(schedule, 1), 6 * (2 + 3) + 6 * 11);
    EXPECT_EQ(makespan(schedule, 4), 6 * (2 + 3) + 4 * 5 + 2 * 11);  // the step ends one, too
  }
  costs.last_weight = -1;
  EXPECT_EQ(makespan(gpipe_schedule(1, 6), 2), 6 * (2 + 3 + 5));
}

// The table of EveryStartOfASmallTable: rank 0 ends at 9, rank 1 at 7.
TEST(Simulate, TheSumOverReplicasComesBehindTheLastW) {
  std::vector<StageCosts> costs = equal_costs(2, {1, 1, 1});
  const auto replayed = [&](const Schedule& schedule) {
    const Simulation simulation = simulated(schedule, costs);
    EXPECT_EQ(simulation.busy[0] + simulation.busy.back(), 12);  // it is no work
    return simulation;
  };
  const Schedule plain = one_f_one_b_schedule(2, 2), steps = with_optimizer_steps(plain);
  costs[0].sum = costs[1].sum = 1;
  EXPECT_EQ(replayed(plain).makespan, 9);  // a table without STEP has none
  EXPECT_EQ(replayed(steps).makespan, 10);
  EXPECT_EQ(replayed(steps).bubble(), 1 - 12.0 / 20);
  costs[1].sum = 5;
  EXPECT_EQ(replayed(steps).makespan, 7 + 5);
}

TEST(Simulate, TheSumComesOnceAndWhereTheTableHasIt) {
  std::vector<StageCosts> costs = equal_costs(2, {1, 1, 1});
  costs[0].sum = 10;
  costs[1].sum = 100;
  const Simulation simulation =
      simulated(table(2, 1, {"0F0 1F0 1BW0 1REDUCE_GRAD 0BW0 0STEP 1STEP"}), costs);
  std::vector<double> ends;
  for (const SimulatedAction& one : simulation.actions) ends.push_back(one.end);
  EXPECT_EQ(ends, (std::vector<double>{1, 2, 4, 104, 106, 116, 116}));
  EXPECT_EQ(simulation.busy, std::vector<double>{6});
  EXPECT_EQ(simulation.work_end, 106);
  EXPECT_EQ(simulation.work_bubble(), 1 - 6.0 / 106);
  EXPECT_EQ(simulation.bubble(), 1 - 6.0 / 116);
}

// Rank 0 ends its last W at 9, rank 1 at 7.
TEST(Simulate, ASumBesideWIsHiddenThereAndKeepsNobodyBehindIt) {
  std::vector<StageCosts> costs = equal_costs(2, {1, 1, 1});
  const Schedule steps = with_optimizer_steps(one_f_one_b_schedule(2, 2));
  costs[0].sum = 3;
  costs[0].hidden_sum = 2;
  EXPECT_EQ(simulated(steps, costs).makespan, 9 + 1);
  costs[0].hidden_sum = 3;
  EXPECT_EQ(simulated(steps, costs).makespan, 9);
  costs[1].sum = 4;
  costs[1].hidden_sum = 1;
  EXPECT_EQ(simulated(steps, costs).makespan, 7 + 3);
  EXPECT_EQ(simulated(steps, costs).busy, (std::vector<double>{6, 6}));
  // Two stages of a rank: the sum of stage 1 goes on beside the W of stage 0, whose own comes
  // behind it.
  const Schedule both = table(2, 1, {"0F0 1F0 1BW0 1REDUCE_GRAD 0BW0 0STEP 1STEP"});
  const Schedule late = table(2, 1, {"0F0 1F0 1BW0 0BW0 0STEP 1STEP"});
  costs[0].sum = costs[1].sum = 3;
  costs[0].hidden_sum = costs[1].hidden_sum = 1;
  EXPECT_EQ(simulated(both, costs).makespan, 6 + 2 + 2);  // REDUCE_GRAD waits: 4 + 2
  EXPECT_EQ(simulated(late, costs).makespan, 3 + 3 + 3);
}

TEST(Simulate, PeaksOfSlots) {
  const auto peaks = [](const Schedule& schedule) {
    return simulated(schedule, equal_costs(schedule.stages, {1, 1, 1})).peak_slots;
  };
  EXPECT_EQ(peaks(gpipe_schedule(3, 5)), (std::vector<int>{5, 5, 5}));
  EXPECT_EQ(peaks(one_f_one_b_schedule(3, 5)), (std::vector<int>{3, 2, 1}));
  EXPECT_EQ(peaks(naive_schedule(3, 5)), (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(peaks(forward_only_schedule(3, 5)), (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(peaks(table(2, 2, {"0F0 1F0 0F1 1F1 1BW0 0BW0 1BW1 0BW1"})), std::vector<int>{4});
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

TEST(Simulate, TextbookBubbleGoesByTheGeneratorNotTheName) {
  Schedule schedule = gpipe_schedule(3, 6);
  schedule.name = "zb-h1";
  EXPECT_STREQ(textbook_formula(with_communication(schedule)), "(K-1)/(M+K-1)");
  const Schedule file = schedule_from_text(schedule.to_text(), "zb-h1");
  EXPECT_EQ(textbook_bubble(file), -1);
  EXPECT_STREQ(textbook_formula(file), "");
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
  for (const char* name : {"naive", "gpipe", "1f1b"}) {
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
        if (!is_compute(action.action.kind)) {
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
  // Rank 1 is quick. With one input gradient, its BW1 waits for rank 0's W0.
  const Schedule gpipe = gpipe_schedule(2, 2);
  const SimulationCosts costs{{{1, 1, 5}, {1, 1, 0}}};
  const auto start_of = [](const Simulation& simulation, const Action& wanted) {
    for (const SimulatedAction& simulated_action : simulation.actions) {
      if (simulated_action.action == wanted) return simulated_action.start;
    }
    return -1.0;
  };
  const Action b1{ActionKind::kBackward, 1, 1};
  EXPECT_EQ(start_of(simulate(check(gpipe, {.buffers = buffers_of(gpipe, 2, 2)}), costs,
                              BufferLimit::kPlanned),
                     b1),
            4);
  EXPECT_EQ(start_of(simulate(check(gpipe, {.buffers = buffers_of(gpipe, 2, 1)}), costs,
                              BufferLimit::kPlanned),
                     b1),
            10);  // 3 + 1 + 1 + 5

  // With one output, rank 0's second F waits until rank 1 has read the first.
  const Schedule forward = forward_only_schedule(2, 2);
  const Action f1{ActionKind::kForward, 0, 1};
  const SimulationCosts three{equal_costs(2, {3, 0, 0})};
  EXPECT_EQ(start_of(simulate(check(forward, {.buffers = buffers_of(forward, 2)}), three,
                              BufferLimit::kPlanned),
                     f1),
            3);
  EXPECT_EQ(start_of(simulate(check(forward, {.buffers = buffers_of(forward, 1)}), three,
                              BufferLimit::kPlanned),
                     f1),
            6);

  // One micro-batch at a time, one output: micro-batch 1 starts when both stages have ended
  // micro-batch 0.
  const Schedule naive = table(2, 2, {"0F0 0B0 0W0 0F1 0B1 0W1", "1F0 1B0 1W0 1F1 1B1 1W1"});
  const SimulationCosts slow_weights{{{1, 1, 1}, {1, 1, 7}}};
  EXPECT_EQ(start_of(simulate(check(naive, {.buffers = buffers_of(naive, 1)}), slow_weights,
                              BufferLimit::kPlanned),
                     f1),
            10);
  EXPECT_EQ(start_of(simulate(check(naive, {.buffers = buffers_of(naive, 2)}), slow_weights,
                              BufferLimit::kPlanned),
                     f1),
            5);
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
  EXPECT_THROW(simulated(schedule, equal_costs(3, {})), Error);
  EXPECT_THROW(simulated(schedule, equal_costs(2, {-1, 1, 1})), Error);
  EXPECT_THROW(
      simulated(schedule, equal_costs(2, {1, std::numeric_limits<double>::quiet_NaN(), 1})), Error);
  for (double StageCosts::*const optional : {&StageCosts::last_weight, &StageCosts::recompute}) {
    for (const double cost :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      StageCosts costs;
      costs.*optional = cost;
      EXPECT_THROW(simulated(schedule, {costs, costs}), Error);
    }
  }
  EXPECT_THROW(simulate(check(schedule), {equal_costs(2, {}), -1}, BufferLimit::kPlanned), Error);
  EXPECT_THROW(simulate(check(schedule), {equal_costs(2, {}), 0, 0, -1}, BufferLimit::kPlanned),
               Error);
  StageCosts sum;
  sum.sum = -1;
  EXPECT_THROW(simulated(schedule, {sum, sum}), Error);
  sum.sum = 1;
  sum.hidden_sum = 2;
  EXPECT_THROW(simulated(schedule, {sum, sum}), Error);
  EXPECT_THROW(simulate(check(schedule, {.buffers = buffers_of(schedule, 1)}), {equal_costs(2, {})},
                        BufferLimit::kPlanned),
               Error);
}

TEST(Simulate, LargeTable) {
  const int stages = 128, micro_batches = 1024;
  const Schedule schedule = one_f_one_b_schedule(stages, micro_batches);
  const Simulation simulation = simulated(schedule, equal_costs(stages, {1, 1, 1}));
  EXPECT_EQ(simulation.makespan, (stages - 1 + micro_batches) * 3);
  EXPECT_EQ(simulation.actions.size(), static_cast<std::size_t>(stages) * micro_batches * 2);
  const Simulation short_one =
      simulate(check(schedule), {equal_costs(stages, {1, 1, 1})}, BufferLimit::kPlanned, false);
  EXPECT_EQ(short_one.makespan, simulation.makespan);
  EXPECT_TRUE(short_one.actions.empty());
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
