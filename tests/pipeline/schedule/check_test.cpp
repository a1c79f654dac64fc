#include "pipeline/schedule/check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "pipeline/schedule/generators.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

using enum ActionKind;

std::string check_error(const Schedule& schedule) {
  return error_of([&] { check(schedule); });
}

std::string check_error(const Schedule& schedule, const BufferCounts& buffers) {
  return error_of([&] { check(schedule, {.buffers = buffers}); });
}

// So many of every kind on every stage.
BufferCounts all_of(int stages, int count) {
  const std::vector<int> counts(static_cast<std::size_t>(stages), count);
  return {counts, counts, counts, counts, counts, counts};
}

TEST(Check, AcceptsAnyLegalOrder) {
  // Not one of ours: B before W by a whole micro-batch, F and B out of order, two stages on a rank.
  EXPECT_EQ(check_error(table(1, 2, {"0F1 0F0 0B0 0B1 0W0 0W1"})), "");
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0F1 0B1 0B0 0W0 0W1"})), "");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 1F0 1B0 0B0 0W0 1W0"})), "");
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0R0 0BW0 0F1 0B1 0W1 0REDUCE_GRAD 0STEP"})), "");
  EXPECT_EQ(check_error(Schedule{}), "");
}

TEST(Check, DuplicatedAction) {
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0 0W0 0F0"})),
            "check: expected every action once, got rank 0, position 3: 0F0 a second time");
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0BW0 0W0"})),
            "check: expected every action once, got rank 0, position 2: 0W0 a second time");
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0BW0 0STEP 0STEP"})),
            "check: expected every action once, got rank 0, position 3: 0STEP a second time");
}

TEST(Check, MissingAction) {
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0F1 0B0 0W0 0B1", "1F0 1B0 1W0 1F1 1B1 1W1"})),
            "check: expected 0W1 on rank 0, got a table without it");
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0F1", "1F0"})),
            "check: expected 1F1 on rank 1, got a table without it");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0B0 0W0"})),
            "check: expected a rank for stage 1, got none");
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0 0W0", ""})),
            "check: expected an action on rank 1, got none");
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0BW0 0BW1"})),
            "check: expected 0F1 before 0BW1, got rank 0, position 2: 0BW1, and a table without "
            "it");
}

TEST(Check, OutOfRange) {
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0 0W0 0F1"})),
            "check: expected a micro-batch below 1, got rank 0, position 3: 0F1");
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0 1W0 0W0"})),
            "check: expected a stage below 1, got rank 0, position 2: 1W0");
  Schedule negative = table(1, 1, {"0F0"});
  negative.ranks[0][0].micro_batch = -1;
  EXPECT_NE(check_error(negative), "");
  negative.ranks[0][0] = {kForward, -1, 0};
  EXPECT_NE(check_error(negative), "");
  negative.ranks[0] = {{kForward, 0, 0}, {static_cast<ActionKind>(kActionKinds), 0, 0}};
  EXPECT_NE(check_error(negative), "");
}

TEST(Check, StageOnTwoRanks) {
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0", "0W0"})),
            "check: expected all of stage 0 on rank 0, got rank 1, position 0: 0W0");
}

TEST(Check, OrderWithinAMicroBatch) {
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0W0 0B0"})),
            "check: expected 0B0 before 0W0, got rank 0, position 1: 0W0, and that after it");
  EXPECT_EQ(check_error(table(1, 1, {"0B0 0W0 0F0"})),
            "check: expected 0F0 before 0B0, got rank 0, position 0: 0B0, and that after it");
  EXPECT_EQ(check_error(table(1, 1, {"0R0 0F0 0BW0"})),
            "check: expected 0F0 before 0R0, got rank 0, position 0: 0R0, and that after it");
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0 0R0 0W0"})),
            "check: expected R before B of micro-batch 0, got rank 0, position 2: 0R0 after it");
}

TEST(Check, GradientsAddedInAnotherOrder) {
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0F1 0B0 0B1 0W1 0W0"})),
            "check: expected W of stage 0 in the order of micro-batches, got rank 0, position 5: "
            "0W0 after 0W1");
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0F1 0BW1 0BW0"})),
            "check: expected W of stage 0 in the order of micro-batches, got rank 0, position 3: "
            "0BW0 after 0W1");
}

TEST(Check, StepsOfTheOptimizer) {
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0BW0 0STEP 0F1 0BW1"})),
            "check: expected 0W1 before 0STEP, got rank 0, position 2: 0STEP");
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0BW0 0STEP 0REDUCE_GRAD"})),
            "check: expected REDUCE_GRAD before STEP, got rank 0, position 3: 0REDUCE_GRAD after "
            "it");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 1F0 1BW0 0BW0 1STEP"})),
            "check: expected 0STEP on rank 0, got a table without it");
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0STEP"})),
            "check: expected no STEP without B and W, got rank 0, position 1: 0STEP");
}

TEST(Check, Communication) {
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0SEND_F0", "1F0"})),
            "check: expected 1RECV_F0 before 1F0, got rank 1, position 0: 1F0, and a table without "
            "it");
  EXPECT_EQ(check_error(table(2, 1, {"0F0", "1RECV_F0 1F0"})),
            "check: expected 0SEND_F0 on rank 0, got a table without it");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0SEND_F0", "1RECV_F0 1F0 1SEND_F0"})),
            "check: expected no SEND_F on stage 1, got rank 1, position 2: 1SEND_F0");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0SEND_F0 1RECV_F0 1F0"})),
            "check: expected no SEND_F on stage 0, got rank 0, position 1: 0SEND_F0");
  EXPECT_EQ(check_error(table(2, 1, {"0SEND_F0 0F0", "1RECV_F0 1F0"})),
            "check: expected 0F0 before 0SEND_F0, got rank 0, position 0: 0SEND_F0, and that after "
            "it");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0SEND_F0", "1F0 1RECV_F0"})),
            "check: expected 1RECV_F0 before 1F0, got rank 1, position 0: 1F0, and that after it");
}

TEST(Check, ReceivesInTheOrderOfTheSends) {
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0SEND_F0 0F1 0SEND_F1", "1RECV_F0 1RECV_F1 1F1 1F0"})),
            "");
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0SEND_F0 0F1 0SEND_F1", "1RECV_F1 1RECV_F0 1F0 1F1"})),
            "check: expected 1RECV_F0 here, in the order of the sends of stage 0, got rank 1, "
            "position 0: 1RECV_F1");
}

TEST(Check, NamesTheLineOfAFile) {
  Schedule schedule = table(2, 1, {"0F0 0B0 0W0", "1F0 1W0 1B0"});
  schedule.lines = {3, 7};
  EXPECT_EQ(check_error(schedule),
            "check: expected 1B0 before 1W0, got line 7, rank 1, position 1: 1W0, and that after "
            "it");
}

TEST(Check, TooFewBuffers) {
  EXPECT_EQ(check_error(gpipe_schedule(2, 3), all_of(2, 2)),
            "check: expected at least 3 slots on stage 0, got 2");
  for (int stage = 0; stage < 4; ++stage) {
    const Schedule schedule = one_f_one_b_schedule(5, 8);
    BufferCounts buffers = check(schedule).buffers();
    EXPECT_EQ(check_error(schedule, buffers), "");
    --buffers.slots[stage];
    EXPECT_NE(check_error(schedule, buffers), "");
  }
}

TEST(Check, CountsOfBuffers) {
  const Schedule schedule = naive_schedule(2, 1);
  BufferCounts buffers = all_of(2, 1);
  buffers.slots = {1};
  EXPECT_EQ(check_error(schedule, buffers), "check: expected the slots of 2 stages, got 1 numbers");
  buffers.slots = {1, 0};
  EXPECT_EQ(check_error(schedule, buffers),
            "check: expected at least 1 of the slots on stage 1, got 0");
  buffers = all_of(2, 1);
  buffers.input_gradients = {1};
  EXPECT_EQ(check_error(schedule, buffers),
            "check: expected the input gradients of 2 stages, got 1 numbers");
}

TEST(Check, ReturnsTheBuffersThatATableNeeds) {
  const BufferCounts one_f_one_b = check(one_f_one_b_schedule(3, 4)).buffers();
  EXPECT_EQ(one_f_one_b.slots, (std::vector<int>{3, 2, 1}));
  EXPECT_EQ(one_f_one_b.received, (std::vector<int>{3, 2, 1}));
  EXPECT_EQ(one_f_one_b.outputs, (std::vector<int>{3, 2, 1}));
  EXPECT_EQ(one_f_one_b.gradient_slots, (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(one_f_one_b.input_gradients, (std::vector<int>{1, 2, 2}));
  EXPECT_EQ(check(gpipe_schedule(2, 1)).buffers().input_gradients, (std::vector<int>{1, 1}));
  EXPECT_EQ(check(forward_only_schedule(3, 4)).buffers().slots, (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(check(forward_only_schedule(3, 4)).buffers().outputs, (std::vector<int>{2, 2, 1}));
  EXPECT_EQ(check(forward_only_schedule(3, 1)).buffers().outputs, (std::vector<int>{1, 1, 1}));
}

TEST(Check, BuffersOfATableThatRecomputes) {
  // F keeps nothing: one slot for it, and for the micro-batch between R and BW.
  const BufferCounts always =
      check(with_recompute(gpipe_schedule(2, 4), Recompute::kAlways)).buffers();
  EXPECT_EQ(always.slots, (std::vector<int>{1, 1}));
  EXPECT_EQ(always.received, (std::vector<int>{4, 4}));
  EXPECT_EQ(always.outputs[0], 4);
  const Schedule but_last = with_recompute(gpipe_schedule(2, 4), Recompute::kExceptLast);
  EXPECT_EQ(check(but_last).buffers().slots, (std::vector<int>{2, 2}));
}

TEST(Check, BuffersWhereWComesLate) {
  const BufferCounts buffers =
      check(table(2, 3,
                  {"0F0 0F1 0F2 0B0 0B1 0B2 0W0 0W1 0W2", "1F0 1B0 1F1 1B1 1F2 1B2 1W0 1W1 1W2"}))
          .buffers();
  EXPECT_EQ(buffers.slots, (std::vector<int>{3, 3}));
  EXPECT_EQ(buffers.gradient_slots, (std::vector<int>{3, 3}));
  EXPECT_EQ(buffers.input_gradients, (std::vector<int>{1, 3}));
}

TEST(Check, ReceivedTensorsAreCountedFromTheirReceives) {
  // Both receives of each kind are posted before the first is read.
  const BufferCounts buffers =
      check(table(2, 2,
                  {"0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0RECV_B1 0B0 0W0 0B1 0W1",
                   "1RECV_F0 1RECV_F1 1F0 1B0 1SEND_B0 1W0 1F1 1B1 1SEND_B1 1W1"}))
          .buffers();
  EXPECT_EQ(buffers.received, (std::vector<int>{2, 2}));  // 2 F before the first W; 2 receives
  EXPECT_EQ(buffers.received_gradients, (std::vector<int>{2, 1}));
  EXPECT_EQ(buffers.gradient_slots, (std::vector<int>{1, 1}));
  EXPECT_EQ(buffers.slots, (std::vector<int>{2, 1}));
  BufferCounts fewer = buffers;
  fewer.received_gradients = {1, 1};
  const Schedule gpipe = with_communication(gpipe_schedule(2, 2));
  EXPECT_EQ(check(gpipe).buffers().received_gradients, (std::vector<int>{1, 1}));
  EXPECT_EQ(check_error(gpipe, all_of(2, 2)), "");
  EXPECT_EQ(check_error(table(2, 2,
                              {"0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0RECV_B1 0B0 0W0 0B1 0W1",
                               "1RECV_F0 1RECV_F1 1F0 1B0 1SEND_B0 1W0 1F1 1B1 1SEND_B1 1W1"}),
                        fewer),
            "check: expected at least 2 received gradients on stage 0, got 1");
}

// What three and four stages need when a value of the first is read by a later one than the next.
TEST(Check, AValueThatTravelsOccupiesItsBufferLonger) {
  const Schedule three = one_f_one_b_schedule(3, 6);
  EXPECT_EQ(check(three).buffers().outputs, (std::vector<int>{3, 2, 1}));
  // The last stage has done with a micro-batch before the next one has: nothing changes.
  EXPECT_EQ(check(three, {.reach = {{2, 2, 2}, {}}}).buffers().outputs,
            (std::vector<int>{3, 2, 1}));
  // Forwards only, one after another: stage 1 reads a unit after stage 0, stage 2 after two.
  const Schedule forward = forward_only_schedule(4, 6);
  EXPECT_EQ(check(forward).buffers().outputs, (std::vector<int>{2, 2, 2, 1}));
  EXPECT_EQ(check(forward, {.reach = {{2, 3, 3, 3}, {}}}).buffers().outputs,
            (std::vector<int>{3, 3, 2, 1}));
  EXPECT_EQ(check(forward, {.reach = {{3, 2, 3, 3}, {}}}).buffers().outputs,
            (std::vector<int>{4, 2, 2, 1}));
  // W late on the last stage: it still reads what stage 0 made.
  const Schedule late = table(
      3, 2, {"0F0 0B0 0W0 0F1 0B1 0W1", "1F0 1B0 1W0 1F1 1B1 1W1", "2F0 2B0 2F1 2B1 2W0 2W1"});
  EXPECT_EQ(check(late).buffers().outputs, (std::vector<int>{1, 2, 1}));
  EXPECT_EQ(check(late, {.reach = {{2, 2, 2}, {}}}).buffers().outputs, (std::vector<int>{2, 2, 1}));
  // Gradients go up likewise, and W of the first stage reads them late.
  const Schedule up =
      table(3, 3,
            {"0F0 0F1 0F2 0B0 0B1 0B2 0W0 0W1 0W2", "1F0 1F1 1F2 1B0 1W0 1B1 1W1 1B2 1W2",
             "2F0 2F1 2F2 2B0 2W0 2B1 2W1 2B2 2W2"});
  EXPECT_EQ(check(up).buffers().input_gradients, (std::vector<int>{1, 3, 2}));
  EXPECT_EQ(check(up, {.reach = {{}, {0, 0, 0}}}).buffers().input_gradients,
            (std::vector<int>{1, 3, 3}));
}

TEST(Check, DeadlockOverTheBuffersOfAValueThatTravels) {
  const Schedule late = table(
      3, 2, {"0F0 0B0 0W0 0F1 0B1 0W1", "1F0 1B0 1W0 1F1 1B1 1W1", "2F0 2B0 2F1 2B1 2W0 2W1"});
  BufferCounts buffers = all_of(3, 2);
  buffers.outputs = {1, 2, 1};
  EXPECT_EQ(check_error(late, buffers), "");
  EXPECT_EQ(
      error_of([&] {
        check(late, {.buffers = buffers, .reach = {{2, 2, 2}, {}}});
      }),
      "check: expected an order in which every rank can go on, got a deadlock: "
      "rank 0 waits at 0F1 (position 3) for 2W0 (stage 0 has 1 output buffer, and micro-batch 0 is "
      "still in the one to write); "
      "rank 2 waits at 2F1 (position 2) for 1F1; "
      "rank 1 waits at 1F1 (position 3) for 0F1");
}

TEST(Check, ReachOfOtherStages) {
  const Schedule schedule = naive_schedule(3, 1);
  const auto error = [&](const Reach& reach) {
    return error_of([&] { check(schedule, {.reach = reach}); });
  };
  EXPECT_EQ(error({{1, 2, 2}, {0, 0, 1}}), "");
  EXPECT_EQ(error({{1, 2}, {}}), "check: expected the last readers of 3 stages, got 2 numbers");
  EXPECT_EQ(error({{3, 2, 2}, {}}), "check: expected a last reader from 1 to 2 of stage 0, got 3");
  EXPECT_EQ(error({{}, {0, 1, 1}}), "check: expected a first reader from 0 to 0 of stage 1, got 1");
}

TEST(Check, DeadlockNamesTheCycle) {
  EXPECT_EQ(
      check_error(table(2, 1, {"0F0 0RECV_B0 0B0 0SEND_F0 0W0", "1RECV_F0 1F0 1B0 1SEND_B0 1W0"})),
      "check: expected an order in which every rank can go on, got a deadlock: "
      "rank 0 waits at 0B0 (position 2) for 1SEND_B0; "
      "rank 1 waits at 1F0 (position 1) for 0SEND_F0");
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0B0 0W0 0F1 0B1 0W1", "1F0 1F1 1B0 1W0 1B1 1W1"})),
            "check: expected an order in which every rank can go on, got a deadlock: "
            "rank 0 waits at 0B0 (position 1) for 1B0; "
            "rank 1 waits at 1F1 (position 1) for 0F1");
}

TEST(Check, DeadlockNamesOnlyTheRanksOfTheCycle) {
  // Rank 0 waits for rank 1 but nobody waits for rank 0's next action.
  EXPECT_EQ(
      check_error(table(
          3, 2, {"0F0 0F1 0B0 0W0 0B1 0W1", "1F0 1B0 1W0 1F1 1B1 1W1", "2F0 2F1 2B0 2W0 2B1 2W1"})),
      "check: expected an order in which every rank can go on, got a deadlock: "
      "rank 1 waits at 1B0 (position 1) for 2B0; "
      "rank 2 waits at 2F1 (position 1) for 1F1");
}

TEST(Check, DeadlockOnOneRank) {
  EXPECT_EQ(check_error(table(2, 1, {"1F0 0F0 1BW0 0BW0"})),
            "check: expected 0F0 before 1F0 on rank 0, got 1F0 at position 0 and 0F0 after it");
}

TEST(Check, DeadlockOverBuffers) {
  // Stage 0's only output is read by stage 1, whose W0 comes after its F1.
  BufferCounts buffers = all_of(2, 2);
  buffers.outputs = {1, 1};
  EXPECT_EQ(
      check_error(table(2, 2, {"0F0 0B0 0W0 0F1 0B1 0W1", "1F0 1B0 1F1 1W0 1B1 1W1"}), buffers),
      "check: expected an order in which every rank can go on, got a deadlock: "
      "rank 0 waits at 0F1 (position 3) for 1W0 (stage 0 has 1 output buffer, and "
      "micro-batch 0 is still in the one to write); "
      "rank 1 waits at 1F1 (position 2) for 0F1");
  // Stage 1 cannot write the gradient of micro-batch 1 before stage 0 has used that of 0.
  buffers = all_of(2, 2);
  buffers.input_gradients = {1, 1};
  EXPECT_EQ(
      check_error(table(2, 2, {"0F0 0F1 0B0 0B1 0W0 0W1", "1F0 1F1 1B0 1W0 1B1 1W1"}), buffers),
      "check: expected an order in which every rank can go on, got a deadlock: "
      "rank 0 waits at 0B1 (position 3) for 1B1; "
      "rank 1 waits at 1B1 (position 4) for 0W0 (stage 1 has 1 input gradient buffer, and "
      "micro-batch 0 is still in the one to write)");
}

}  // namespace
}  // namespace stagecoach
