// Tables whose stages are on several ranks: made, checked, damaged, replayed.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "pipeline/picture/ascii.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/csv.h"
#include "pipeline/schedule/formula.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/simulate.h"
#include "pipeline/schedule/text.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

using enum ActionKind;

std::string check_error(const Schedule& schedule) {
  return error_of([&] { check(schedule); });
}

// Costs with which all ranks have as much to do: what replicas are for.
SimulationCosts balanced(const Schedule& schedule) {
  const Placement placement(schedule);
  SimulationCosts costs;
  for (int stage = 0; stage < schedule.stages; ++stage) {
    const double cost = placement.replicas(stage);
    costs.stages.push_back({cost, cost, cost});
  }
  return costs;
}

template <typename Test>
void for_all_replicas(Test test) {
  for (const char* name : {"naive", "gpipe", "1f1b"}) {
    for (const std::vector<int>& replicas : std::vector<std::vector<int>>{
             {1, 2}, {2, 1}, {4, 1}, {1, 4}, {4, 2}, {2, 4, 1}, {1, 2, 1}, {2, 1, 2}, {8, 1, 4}}) {
      for (const int micro_batches : {1, 2, 3, 5}) {
        SCOPED_TRACE(fmt::format("{} {} {}", name, fmt::join(replicas, ","), micro_batches));
        test(make_replicated_schedule(name, replicas, micro_batches), micro_batches);
      }
    }
  }
}

// `schedule` once more for each of `replicas`, each copy with micro-batches of its own.
Schedule copies_of(const Schedule& schedule, int replicas) {
  Schedule result = schedule;
  result.generator = Generator::kNone;
  result.micro_batches *= replicas;
  result.ranks.clear();
  for (const std::vector<Action>& actions : schedule.ranks) {
    for (int replica = 0; replica < replicas; ++replica) {
      result.ranks.push_back(actions);
      for (Action& action : result.ranks.back()) {
        action.micro_batch += replica * schedule.micro_batches;
      }
    }
  }
  return result;
}

TEST(Replicated, AsManyOfEachStageAreCopiesOfTheTableOfOne) {
  for (const char* name : {"naive", "gpipe", "1f1b"}) {
    for (const int stages : {1, 2, 3, 5}) {
      for (const int micro_batches : {1, 2, 3, 7, 8}) {
        for (const int replicas : {1, 2, 4}) {
          SCOPED_TRACE(fmt::format("{} {} {} {}", name, stages, micro_batches, replicas));
          const std::vector<int> all(static_cast<std::size_t>(stages), replicas);
          const Schedule table = make_replicated_schedule(name, all, micro_batches);
          const Schedule one = make_schedule(name, stages, micro_batches);
          EXPECT_EQ(table.to_text(), copies_of(one, replicas).to_text());
          EXPECT_EQ(check(with_communication(table)).buffers().outputs,
                    check(with_communication(one)).buffers().outputs);
          EXPECT_EQ(with_communication(table).to_text(),
                    copies_of(with_communication(one), replicas).to_text());
        }
      }
    }
  }
}

TEST(Replicated, TwoReplicasSendToOne) {
  EXPECT_EQ(make_replicated_schedule("1f1b", {2, 1}, 3).to_text(),
            "0F0 0F1 0BW0 0F2 0BW1 0BW2\n"
            "0F3 0F4 0BW3 0F5 0BW4 0BW5\n"
            "1F0 1BW0 1F3 1BW3 1F1 1BW1 1F4 1BW4 1F2 1BW2 1F5 1BW5\n");
  EXPECT_EQ(make_replicated_schedule("gpipe", {2, 1}, 2).to_text(),
            "0F0 0F1 0BW0 0BW1\n"
            "0F2 0F3 0BW2 0BW3\n"
            "1F0 1F2 1F1 1F3 1BW0 1BW2 1BW1 1BW3\n");
  EXPECT_EQ(make_replicated_schedule("naive", {1, 2}, 2).to_text(),
            "0F0 0F2 0BW0 0BW2 0F1 0F3 0BW1 0BW3\n"
            "1F0 1BW0 1F1 1BW1\n"
            "1F2 1BW2 1F3 1BW3\n");
  EXPECT_EQ(with_optimizer_steps(with_communication(make_replicated_schedule("naive", {2, 1}, 1)))
                .to_text(),
            "0F0 0SEND_F0 0RECV_B0 0BW0 0STEP\n"
            "0F1 0SEND_F1 0RECV_B1 0BW1 0STEP\n"
            "1RECV_F0 1F0 1BW0 1SEND_B0 1RECV_F1 1F1 1BW1 1SEND_B1 1STEP\n");
}

TEST(Replicated, AllPassTheCheckWithTheirBuffers) {
  for_all_replicas([](const Schedule& schedule, int micro_batches) {
    const Program program = check(schedule);
    EXPECT_TRUE(program.sums_in_order());
    EXPECT_EQ(program.placement().group_size(), micro_batches);
    EXPECT_EQ(program.stages_of(program.ranks() - 1).size(), 1u);
    const Schedule full = with_optimizer_steps(with_communication(schedule));
    const BufferCounts buffers = check(full).buffers();
    EXPECT_NO_THROW(check(full, {.buffers = buffers}));
    EXPECT_NO_THROW(check(with_communication(forwards_of(schedule)), {.buffers = buffers}));
    for (const Recompute mode : {Recompute::kExceptLast, Recompute::kAlways}) {
      EXPECT_NO_THROW(check(with_communication(with_recompute(schedule, mode))));
    }
    Schedule read = schedule_from_text(schedule.to_text(), schedule.name);
    EXPECT_EQ(read.ranks, schedule.ranks);
    EXPECT_EQ(check_error(read), "");
    EXPECT_EQ(textbook_bubble(schedule), -1);
  });
}

TEST(Replicated, BuffersDoNotGrowWithTheMicroBatchesUnder1F1B) {
  const auto buffers = [](int micro_batches) {
    return check(with_communication(make_replicated_schedule("1f1b", {4, 1, 2}, micro_batches)))
        .buffers();
  };
  const BufferCounts few = buffers(8), many = buffers(32);
  EXPECT_EQ(few.slots, many.slots);
  EXPECT_EQ(few.outputs, many.outputs);
  EXPECT_EQ(few.input_gradients, many.input_gradients);
  EXPECT_EQ(check(make_replicated_schedule("1f1b", {2, 1}, 8)).buffers().slots,
            (std::vector<int>{2, 1}));
}

TEST(Replicated, StagesWithMoreWorkOnMoreRanksHaveASmallBubble) {
  const auto bubble = [](const Schedule& schedule) {
    return simulate(check(schedule), balanced(schedule), BufferLimit::kPlanned).bubble();
  };
  EXPECT_LT(bubble(make_replicated_schedule("1f1b", {2, 1}, 16)), 0.06);
  EXPECT_LT(bubble(make_replicated_schedule("gpipe", {2, 1}, 16)), 0.06);
  EXPECT_GT(bubble(make_replicated_schedule("naive", {2, 1}, 16)), 0.3);
  for_all_replicas([&](const Schedule& schedule, int) {
    const double all = bubble(schedule);
    EXPECT_GE(all, 0);
    EXPECT_LT(all, 1);
    EXPECT_EQ(all, bubble(with_communication(schedule)));
  });
}

TEST(Replicated, OtherSchedulesAndNumbersAreRefused) {
  const auto error = [](const char* name, const std::vector<int>& replicas) {
    return error_of([&] { make_replicated_schedule(name, replicas, 2); });
  };
  EXPECT_EQ(error("zb-h1", {2, 1}),
            "schedule: expected naive, gpipe or 1f1b, where stages have replicas of their own, got "
            "'zb-h1'");
  EXPECT_EQ(error("1f1b", {2, 3}),
            "schedule: expected 1, 2, 4, 8, ... replicas of a stage, got 2,3");
  EXPECT_EQ(error("1f1b", {0}), "schedule: expected 1, 2, 4, 8, ... replicas of a stage, got 0");
  EXPECT_NE(error("1f1b", {}), "");
  EXPECT_NE(error_of([] { make_replicated_schedule("1f1b", {2, 1}, 0); }), "");
  EXPECT_NE(error_of([] { make_replicated_schedule("1f1b", {1 << 30, 1}, 8); }), "");
  EXPECT_NE(error_of([] { to_csv(make_replicated_schedule("1f1b", {2, 1}, 2)); }), "");
}

TEST(Replicated, ATableByHandWithGroupsOneAfterTheOther) {
  const Schedule schedule = table(
      2, 4, {"0F0 0F1 0BW0 0BW1", "0F2 0F3 0BW2 0BW3", "1F0 1BW0 1F1 1BW1 1F2 1BW2 1F3 1BW3"});
  EXPECT_EQ(check_error(schedule), "");
  EXPECT_EQ(check_error(with_optimizer_steps(with_communication(schedule))), "");
}

TEST(Replicated, BlocksAreEqualAndTheirMicroBatchesFollowEachOther) {
  EXPECT_EQ(check_error(table(1, 3, {"0F0", "0F1", "0F2"})),
            "check: expected stage 0 on one rank, or on 2, 4, 8, ... that divide the 3 "
            "micro-batches, got on 3: 0, 1, 2");
  EXPECT_EQ(check_error(table(1, 3, {"0F0 0F1", "0F2"})),
            "check: expected stage 0 on one rank, or on 2, 4, 8, ... that divide the 3 "
            "micro-batches, got on 2: 0, 1");
  EXPECT_EQ(
      check_error(table(1, 4, {"0F0 0F1 0F2", "0F3"})),
      "check: expected micro-batches 2 to 3 of stage 0 on rank 1, as it is on ranks 0, 1, got "
      "rank 0, position 2: 0F2");
  EXPECT_EQ(
      check_error(table(1, 4, {"0F0 0F2", "0F1 0F3"})),
      "check: expected micro-batches 2 to 3 of stage 0 on rank 1, as it is on ranks 0, 1, got "
      "rank 0, position 1: 0F2");
  EXPECT_EQ(
      check_error(table(1, 2, {"0F0 0BW0 0BW1", "0F1"})),
      "check: expected micro-batches 1 to 1 of stage 0 on rank 1, as it is on ranks 0, 1, got "
      "rank 0, position 2: 0BW1");
  EXPECT_EQ(
      check_error(table(1, 2, {"0F0", "0F1 0F0"})),
      "check: expected micro-batches 0 to 0 of stage 0 on rank 0, as it is on ranks 0, 1, got "
      "rank 1, position 1: 0F0");
}

TEST(Replicated, EveryReplicaIsComplete) {
  EXPECT_EQ(check_error(table(1, 4, {"0F0 0F1 0BW0 0BW1", "0F2 0F3 0BW2"})),
            "check: expected 0B3 on rank 1, got a table without it");
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0BW0 0STEP", "0F1 0BW1"})),
            "check: expected 0STEP on rank 1, got a table without it");
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0BW0 0REDUCE_GRAD 0STEP", "0F1 0BW1 0STEP"})),
            "check: expected 0REDUCE_GRAD on rank 1, got a table without it");
  EXPECT_EQ(check_error(table(1, 4, {"0F0 0BW0 0STEP 0F1 0BW1", "0F2 0BW2 0F3 0BW3 0STEP"})),
            "check: expected 0W1 before 0STEP, got rank 0, position 2: 0STEP");
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0BW0", "0F1 0BW1", "1F0 1BW0 1F1 1BW1 0STEP"})),
            "check: expected all of stage 0 on rank 0, 1, got rank 2, position 4: 0STEP");
}

TEST(Replicated, WeightGradientsComeInTheOrderOfTheirGroups) {
  const char* up = "0F0 0F1 0BW0 0BW1";
  const char* down = "0F2 0F3 0BW2 0BW3";
  EXPECT_EQ(check_error(table(2, 4, {up, down, "1F0 1F2 1F1 1F3 1BW2 1BW0 1BW3 1BW1"})), "");
  const Schedule wrong = table(2, 4, {up, down, "1F0 1F2 1F1 1F3 1BW2 1BW1 1BW0 1BW3"});
  EXPECT_EQ(check_error(wrong),
            "check: expected W of stage 1 in the order of micro-batches 0 to 1, one of 2 groups, "
            "got rank 2, position 6: 1BW0 after 1W1");
  EXPECT_FALSE(check(wrong, {.order = WeightOrder::kAny}).sums_in_order());
  // One replica of each: one group.
  EXPECT_NE(check_error(table(1, 4, {"0F0 0F2 0F1 0F3 0BW0 0BW2 0BW1 0BW3"})), "");
}

TEST(Replicated, MessagesOfEachPairOfRanksKeepTheirOrder) {
  Schedule schedule = with_communication(make_replicated_schedule("gpipe", {2, 1}, 2));
  ASSERT_EQ(check_error(schedule), "");
  std::vector<Action>& last = schedule.ranks[2];
  const auto at = [&](int micro) {
    return std::ranges::find(last, Action{kReceiveActivation, 1, micro});
  };
  // The receives of two senders may be posted in any order, those of one may not.
  const Action from_second = *at(2);
  last.erase(at(2));
  last.insert(last.begin(), from_second);
  EXPECT_EQ(check_error(schedule), "");
  const Action later = *at(1);
  last.erase(at(1));
  last.insert(last.begin(), later);
  EXPECT_EQ(check_error(schedule),
            "check: expected 1RECV_F0 here, in the order of the sends of stage 0, got rank 2, "
            "position 0: 1RECV_F1");
}

TEST(Replicated, ReplicasThatWaitForEachOthersSumsInACircle) {
  // Both stages on both ranks: sums in one order, and in another.
  const std::string first = "0F0 1F0 1BW0 0BW0 ", second = "0F1 1F1 1BW1 0BW1 ";
  EXPECT_EQ(check_error(table(2, 2, {first + "0STEP 1STEP", second + "0STEP 1STEP"})), "");
  EXPECT_EQ(check_error(table(2, 2, {first + "0STEP 1STEP", second + "1STEP 0STEP"})),
            "check: expected an order in which every rank can go on, got a deadlock: "
            "rank 0 waits at 0STEP (position 4) for that of rank 1 (all replicas of a stage add "
            "their gradients at once); "
            "rank 1 waits at 1STEP (position 4) for that of rank 0 (all replicas of a stage add "
            "their gradients at once)");
  // Where REDUCE_GRAD adds them, a STEP waits for nobody.
  EXPECT_EQ(check_error(table(2, 2,
                              {first + "0REDUCE_GRAD 1REDUCE_GRAD 0STEP 1STEP",
                               second + "0REDUCE_GRAD 1REDUCE_GRAD 1STEP 0STEP"})),
            "");
  // A rank at its sum sends nothing that another replica needs before its own.
  const Schedule late =
      table(2, 2, {"0F0 0BW0 0STEP", "0F1 0BW1 0STEP", "1F0 1BW0 1F1 1BW1 1STEP"});
  EXPECT_EQ(check_error(late), "");
  EXPECT_NE(
      check_error(table(2, 2, {"0F0 0BW0 0STEP 1F1 1BW1 1STEP", "0F1 1F0 1BW0 0BW1 0STEP 1STEP"})),
      "");
}

TEST(Replicated, SumsBeginWhenAllReplicasHaveComeToThem) {
  // Rank 1 ends its W two later than rank 0, as stage 1 takes its micro-batch second.
  const Schedule schedule =
      table(2, 2, {"0F0 0BW0 0STEP", "0F1 0BW1 0STEP", "1F0 1BW0 1F1 1BW1 1STEP"});
  SimulationCosts costs;
  costs.stages = {{1, 1, 1}, {1, 1, 1}};
  costs.stages[0].sum = 5;
  const Simulation simulation = simulate(check(schedule), costs, BufferLimit::kNone);
  const auto end_of = [&](int rank, const Action& action) {
    for (const SimulatedAction& one : simulation.actions) {
      if (one.rank == rank && one.action == action) return one.end;
    }
    return -1.0;
  };
  const double last = end_of(1, {kBackward, 0, 1});
  EXPECT_EQ(end_of(0, {kBackward, 0, 0}) + 3, last);
  EXPECT_EQ(end_of(0, {kOptimizerStep, 0, -1}), last + 5);
  EXPECT_EQ(end_of(1, {kOptimizerStep, 0, -1}), last + 5);
  // Beside W: what is hidden of it has run when that ends.
  costs.stages[0].hidden_sum = 2;
  EXPECT_EQ(simulate(check(schedule), costs, BufferLimit::kNone).makespan, last + 3);
}

TEST(Replicated, APictureNamesMicroBatchesOfTheWholeStep) {
  const Schedule schedule = make_replicated_schedule("1f1b", {2, 1}, 2);
  const Simulation simulation =
      simulate(check(schedule), balanced(schedule), BufferLimit::kNone, true);
  EXPECT_EQ(draw_ascii(simulation, 200, 8).text,
            "rank 0  F0--- F1--- .  BW0-------- .  .  BW1-------- .  .  .\n"
            "rank 1  F2--- F3--- .  .  .  .  BW2-------- .  .  BW3--------\n"
            "rank 2  .  .  F0 BW0-- F2 BW2-- F1 BW1-- F3 BW3-- .  .  .  .\n");
}

}  // namespace
}  // namespace stagecoach
