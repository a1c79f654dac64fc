#include "pipeline/schedule/schedule.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

TEST(Schedule, NaiveTables) {
  EXPECT_EQ(naive_schedule(1, 1).to_text(), "0F0 0BW0\n");
  EXPECT_EQ(naive_schedule(1, 3).to_text(), "0F0 0BW0 0F1 0BW1 0F2 0BW2\n");
  EXPECT_EQ(naive_schedule(3, 1).to_text(), "0F0 0BW0\n1F0 1BW0\n2F0 2BW0\n");
  EXPECT_EQ(naive_schedule(3, 2).to_text(),
            "0F0 0BW0 0F1 0BW1\n"
            "1F0 1BW0 1F1 1BW1\n"
            "2F0 2BW0 2F1 2BW1\n");
}

TEST(Schedule, GpipeTables) {
  EXPECT_EQ(gpipe_schedule(1, 1).to_text(), "0F0 0BW0\n");
  EXPECT_EQ(gpipe_schedule(1, 3).to_text(), "0F0 0F1 0F2 0BW0 0BW1 0BW2\n");
  EXPECT_EQ(gpipe_schedule(3, 1).to_text(), "0F0 0BW0\n1F0 1BW0\n2F0 2BW0\n");
  EXPECT_EQ(gpipe_schedule(3, 3).to_text(),
            "0F0 0F1 0F2 0BW0 0BW1 0BW2\n"
            "1F0 1F1 1F2 1BW0 1BW1 1BW2\n"
            "2F0 2F1 2F2 2BW0 2BW1 2BW2\n");
}

TEST(Schedule, OneFOneBTables) {
  EXPECT_EQ(one_f_one_b_schedule(1, 1).to_text(), "0F0 0BW0\n");
  EXPECT_EQ(one_f_one_b_schedule(1, 3).to_text(), "0F0 0BW0 0F1 0BW1 0F2 0BW2\n");
  EXPECT_EQ(one_f_one_b_schedule(3, 1).to_text(), "0F0 0BW0\n1F0 1BW0\n2F0 2BW0\n");
  EXPECT_EQ(one_f_one_b_schedule(3, 4).to_text(),
            "0F0 0F1 0F2 0BW0 0F3 0BW1 0BW2 0BW3\n"
            "1F0 1F1 1BW0 1F2 1BW1 1F3 1BW2 1BW3\n"
            "2F0 2BW0 2F1 2BW1 2F2 2BW2 2F3 2BW3\n");
  EXPECT_EQ(one_f_one_b_schedule(4, 2).to_text(),
            "0F0 0F1 0BW0 0BW1\n"
            "1F0 1F1 1BW0 1BW1\n"
            "2F0 2F1 2BW0 2BW1\n"
            "3F0 3BW0 3F1 3BW1\n");
}

TEST(Schedule, ForwardOnlyTables) {
  EXPECT_EQ(forward_only_schedule(1, 1).to_text(), "0F0\n");
  EXPECT_EQ(forward_only_schedule(3, 1).to_text(), "0F0\n1F0\n2F0\n");
  EXPECT_EQ(forward_only_schedule(2, 4).to_text(), "0F0 0F1 0F2 0F3\n1F0 1F1 1F2 1F3\n");
}

TEST(Schedule, ActionsAsText) {
  const std::string all =
      "0F0 1B2 2W3 3BW4 4R5 5SEND_F6 6RECV_F7 7SEND_B8 8RECV_B9 10REDUCE_GRAD 11STEP";
  const Schedule schedule = table(12, 10, {all});
  ASSERT_EQ(schedule.ranks[0].size(), static_cast<std::size_t>(kActionKinds));
  for (int kind = 0; kind < kActionKinds; ++kind) {
    EXPECT_EQ(schedule.ranks[0][kind].kind, static_cast<ActionKind>(kind));
  }
  EXPECT_EQ(schedule.ranks[0].back(), (Action{ActionKind::kOptimizerStep, 11, -1}));
  EXPECT_EQ(schedule.to_text(), all + "\n");
}

TEST(Schedule, CommunicationAroundForwardAndBackward) {
  EXPECT_EQ(with_communication(one_f_one_b_schedule(3, 2)).to_text(),
            "0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0BW0 0RECV_B1 0BW1\n"
            "1RECV_F0 1F0 1SEND_F0 1RECV_F1 1F1 1SEND_F1 "
            "1RECV_B0 1BW0 1SEND_B0 1RECV_B1 1BW1 1SEND_B1\n"
            "2RECV_F0 2F0 2BW0 2SEND_B0 2RECV_F1 2F1 2BW1 2SEND_B1\n");
  EXPECT_EQ(with_communication(forward_only_schedule(2, 2)).to_text(),
            "0F0 0SEND_F0 0F1 0SEND_F1\n"
            "1RECV_F0 1F0 1RECV_F1 1F1\n");
  EXPECT_EQ(with_communication(gpipe_schedule(1, 2)).ranks, gpipe_schedule(1, 2).ranks);
}

// The stage before waits for the gradient, and for nothing that W makes.
TEST(Schedule, GradientsAreSentBeforeW) {
  EXPECT_EQ(with_communication(zb_h1_schedule(2, 1)).to_text(),
            "0F0 0SEND_F0 0RECV_B0 0B0 0W0\n"
            "1RECV_F0 1F0 1B0 1SEND_B0 1W0\n");
}

TEST(Schedule, CommunicationIsAddedOnce) {
  const Schedule once = with_communication(gpipe_schedule(3, 2));
  EXPECT_EQ(with_communication(once).ranks, once.ranks);
  EXPECT_TRUE(has_communication(once));
  EXPECT_FALSE(has_communication(gpipe_schedule(3, 2)));
  EXPECT_FALSE(has_communication(with_optimizer_steps(gpipe_schedule(3, 2))));
}

TEST(Schedule, StagesOnOneRankDoNotCommunicate) {
  const Schedule schedule = table(3, 1, {"0F0 2F0 2B0 2W0 0B0 0W0", "1F0 1B0 1W0"});
  EXPECT_EQ(with_communication(schedule).to_text(),
            "0F0 0SEND_F0 2RECV_F0 2F0 2B0 2SEND_B0 2W0 0RECV_B0 0B0 0W0\n"
            "1RECV_F0 1F0 1SEND_F0 1RECV_B0 1B0 1SEND_B0 1W0\n");
  const Schedule neighbours = table(3, 1, {"0F0 1F0 1BW0 0BW0", "2F0 2BW0"});
  EXPECT_EQ(with_communication(neighbours).to_text(),
            "0F0 1F0 1SEND_F0 1RECV_B0 1BW0 0BW0\n"
            "2RECV_F0 2F0 2BW0 2SEND_B0\n");
}

// Stage 1 runs F1 before F0, which is sent first, and stage 0 B2 before B1.
TEST(Schedule, ReceivesAreInTheOrderOfTheSends) {
  const Schedule schedule =
      table(2, 3, {"0F0 0F1 0F2 0B0 0B2 0B1 0W0 0W1 0W2", "1F1 1F0 1F2 1B0 1B1 1B2 1W0 1W1 1W2"});
  const Schedule full = with_communication(schedule);
  EXPECT_EQ(full.to_text(),
            "0F0 0SEND_F0 0F1 0SEND_F1 0F2 0SEND_F2 "
            "0RECV_B0 0B0 0RECV_B1 0RECV_B2 0B2 0B1 0W0 0W1 0W2\n"
            "1RECV_F0 1RECV_F1 1F1 1F0 1RECV_F2 1F2 "
            "1B0 1SEND_B0 1B1 1SEND_B1 1B2 1SEND_B2 1W0 1W1 1W2\n");
  EXPECT_NO_THROW(check(full));
}

TEST(Schedule, JointBackward) {
  const Schedule schedule = table(2, 2, {"0F0 0F1 0B0 0B1 0W0 0W1", "1F0 1BW0 1F1 1B1 1W1"});
  EXPECT_EQ(with_joint_backward(schedule).to_text(), "0F0 0F1 0BW0 0BW1\n1F0 1BW0 1F1 1BW1\n");
  EXPECT_EQ(with_joint_backward(gpipe_schedule(2, 3)).ranks, gpipe_schedule(2, 3).ranks);
  // Full tables keep their messages.
  EXPECT_EQ(with_joint_backward(with_communication(zb_h1_schedule(2, 1))).ranks,
            with_communication(naive_schedule(2, 1)).ranks);
}

TEST(Schedule, OptimizerStepsAtTheEnd) {
  const Schedule schedule = with_optimizer_steps(zb_v_schedule(2, 1));
  EXPECT_EQ(schedule.to_text(),
            "0F0 3F0 3B0 3W0 0B0 0W0 0STEP 3STEP\n"
            "1F0 2F0 2B0 2W0 1B0 1W0 1STEP 2STEP\n");
  EXPECT_NO_THROW(check(schedule));
  EXPECT_EQ(with_optimizer_steps(schedule).ranks, schedule.ranks);
  EXPECT_EQ(with_optimizer_steps(forward_only_schedule(2, 2)).ranks,
            forward_only_schedule(2, 2).ranks);
}

TEST(Schedule, RecomputeBeforeBackward) {
  const Schedule schedule = one_f_one_b_schedule(2, 2);
  EXPECT_EQ(with_recompute(schedule, Recompute::kNever).ranks, schedule.ranks);
  EXPECT_EQ(with_recompute(schedule, Recompute::kAlways).to_text(),
            "0F0 0F1 0R0 0BW0 0R1 0BW1\n"
            "1F0 1R0 1BW0 1F1 1R1 1BW1\n");
  EXPECT_EQ(with_recompute(schedule, Recompute::kExceptLast).to_text(),
            "0F0 0F1 0R0 0BW0 0BW1\n"
            "1F0 1R0 1BW0 1F1 1BW1\n");
  EXPECT_EQ(with_recompute(zb_h1_schedule(1, 2), Recompute::kExceptLast).to_text(),
            "0F0 0R0 0B0 0W0 0F1 0B1 0W1\n");
  const Schedule again = with_recompute(schedule, Recompute::kAlways);
  EXPECT_NO_THROW(check(again));
  EXPECT_EQ(error_of([&] { with_recompute(again, Recompute::kAlways); }),
            "with_recompute: expected a table without R, got one that recomputes already");
}

TEST(Schedule, ForwardsKeepTheirRanksAndOrder) {
  const Schedule schedule =
      table(3, 2, {"0F1 0F0 2F0 2BW0 2F1 2B1 2W1 0B0 0B1 0W0 0W1", "1F1 1F0 1B0 1W0 1BW1"});
  EXPECT_EQ(forwards_of(schedule).to_text(), "0F1 0F0 2F0 2F1\n1F1 1F0\n");
  EXPECT_EQ(forwards_of(with_communication(schedule)).ranks, forwards_of(schedule).ranks);
  EXPECT_EQ(forwards_of(with_recompute(schedule, Recompute::kAlways)).ranks,
            forwards_of(schedule).ranks);
  EXPECT_TRUE(is_training(schedule));
  EXPECT_FALSE(is_training(forwards_of(schedule)));
  EXPECT_EQ(forwards_of(schedule).name, "forward-only");
}

TEST(Schedule, ByName) {
  EXPECT_EQ(schedule_names(), (std::vector<std::string>{"naive", "gpipe", "1f1b", "interleaved",
                                                        "zb-h1", "zb-v", "dualpipe-v"}));
  for (const std::string& name : schedule_names()) {
    const bool two = name == "interleaved" || name == "zb-v" || name == "dualpipe-v";
    const Schedule schedule = make_schedule(name, 2, 5);
    EXPECT_EQ(schedule.name, name);
    EXPECT_EQ(schedule.stages, two ? 4 : 2) << name;
    EXPECT_EQ(schedule.micro_batches, 5);
    EXPECT_EQ(schedule.ranks.size(), 2u);
    EXPECT_EQ(make_schedule(name, 2, 5, two ? 2 : 1).ranks, schedule.ranks);
    EXPECT_TRUE(is_training(schedule));
  }
  EXPECT_EQ(make_schedule("1f1b", 3, 4).ranks, one_f_one_b_schedule(3, 4).ranks);
  EXPECT_EQ(make_schedule("interleaved", 3, 4, 3).ranks, interleaved_schedule(3, 4, 3).ranks);
  EXPECT_EQ(make_schedule("interleaved", 3, 4, 1).stages, 3);
  EXPECT_EQ(make_schedule("forward-only", 3, 4).ranks, forward_only_schedule(3, 4).ranks);
}

TEST(Schedule, ByNameRefuses) {
  EXPECT_THROW(make_schedule("2f2b", 2, 3), UsageError);
  EXPECT_EQ(error_of([] { make_schedule("2f2b", 2, 3); }),
            "schedule: expected one of naive, gpipe, 1f1b, interleaved, zb-h1, zb-v, dualpipe-v, "
            "got '2f2b'");
  EXPECT_THROW(make_schedule("1f1b", 2, 3, 2), UsageError);
  EXPECT_EQ(error_of([] { make_schedule("1f1b", 2, 3, 2); }),
            "1f1b schedule: expected 1 stage on each rank, got 2; "
            "interleaved has any number of them");
  EXPECT_EQ(error_of([] { make_schedule("zb-v", 2, 3, 3); }),
            "zb-v schedule: expected 2 stages on each rank, got 3; "
            "interleaved has any number of them");
  EXPECT_THROW(make_schedule("dualpipe-v", 2, 4, 1), UsageError);
  EXPECT_THROW(make_schedule("forward-only", 2, 4, 2), UsageError);
  EXPECT_THROW(make_schedule("interleaved", 2, 4, -1), UsageError);
  EXPECT_EQ(error_of([] { make_schedule("interleaved", 2, 4, -1); }),
            "interleaved schedule: expected at least 1 stage on each rank, got -1");
}

TEST(Schedule, RefusesMoreThanCanBeCounted) {
  EXPECT_EQ(error_of([] { make_schedule("interleaved", 65536, 8, 65536); }),
            "interleaved schedule: expected at most 2147483647 stages times micro-batches, got "
            "65536 ranks x 65536 x 8");
  EXPECT_THROW(make_schedule("interleaved", 65536, 1, 32768), UsageError);
  EXPECT_THROW(make_schedule("zb-v", 1 << 30, 1), UsageError);
}

TEST(Schedule, RefusesNoRanksAndNoMicroBatches) {
  std::vector<std::string> names = schedule_names();
  names.emplace_back("forward-only");
  for (const std::string& name : names) {
    EXPECT_THROW(make_schedule(name, 0, 1), Error) << name;
    EXPECT_THROW(make_schedule(name, 1, 0), Error) << name;
    EXPECT_THROW(make_schedule(name, -1, 1), Error) << name;
  }
  EXPECT_THROW(interleaved_schedule(2, 2, 0), Error);
  EXPECT_EQ(error_of([] { gpipe_schedule(2, 0); }),
            "gpipe schedule: expected at least 1 micro-batch, got 0");
}

}  // namespace
}  // namespace stagecoach
