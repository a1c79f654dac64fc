#include "pipeline/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "pipeline/check.h"
#include "tests/pipeline/table_text.h"

namespace stagecoach {
namespace {

TEST(Schedule, NaiveTables) {
  EXPECT_EQ(naive_schedule(1, 1).to_text(), "0F0 0B0 0W0\n");
  EXPECT_EQ(naive_schedule(1, 3).to_text(), "0F0 0B0 0W0 0F1 0B1 0W1 0F2 0B2 0W2\n");
  EXPECT_EQ(naive_schedule(3, 1).to_text(),
            "0F0 0B0 0W0\n"
            "1F0 1B0 1W0\n"
            "2F0 2B0 2W0\n");
  EXPECT_EQ(naive_schedule(3, 3).to_text(),
            "0F0 0B0 0W0 0F1 0B1 0W1 0F2 0B2 0W2\n"
            "1F0 1B0 1W0 1F1 1B1 1W1 1F2 1B2 1W2\n"
            "2F0 2B0 2W0 2F1 2B1 2W1 2F2 2B2 2W2\n");
  EXPECT_EQ(naive_schedule(4, 2).to_text(),
            "0F0 0B0 0W0 0F1 0B1 0W1\n"
            "1F0 1B0 1W0 1F1 1B1 1W1\n"
            "2F0 2B0 2W0 2F1 2B1 2W1\n"
            "3F0 3B0 3W0 3F1 3B1 3W1\n");
  EXPECT_EQ(naive_schedule(2, 4).to_text(),
            "0F0 0B0 0W0 0F1 0B1 0W1 0F2 0B2 0W2 0F3 0B3 0W3\n"
            "1F0 1B0 1W0 1F1 1B1 1W1 1F2 1B2 1W2 1F3 1B3 1W3\n");
}

TEST(Schedule, GpipeTables) {
  EXPECT_EQ(gpipe_schedule(1, 1).to_text(), "0F0 0B0 0W0\n");
  EXPECT_EQ(gpipe_schedule(1, 3).to_text(), "0F0 0F1 0F2 0B0 0W0 0B1 0W1 0B2 0W2\n");
  EXPECT_EQ(gpipe_schedule(3, 1).to_text(),
            "0F0 0B0 0W0\n"
            "1F0 1B0 1W0\n"
            "2F0 2B0 2W0\n");
  EXPECT_EQ(gpipe_schedule(3, 3).to_text(),
            "0F0 0F1 0F2 0B0 0W0 0B1 0W1 0B2 0W2\n"
            "1F0 1F1 1F2 1B0 1W0 1B1 1W1 1B2 1W2\n"
            "2F0 2F1 2F2 2B0 2W0 2B1 2W1 2B2 2W2\n");
  EXPECT_EQ(gpipe_schedule(4, 2).to_text(),
            "0F0 0F1 0B0 0W0 0B1 0W1\n"
            "1F0 1F1 1B0 1W0 1B1 1W1\n"
            "2F0 2F1 2B0 2W0 2B1 2W1\n"
            "3F0 3F1 3B0 3W0 3B1 3W1\n");
  EXPECT_EQ(gpipe_schedule(2, 4).to_text(),
            "0F0 0F1 0F2 0F3 0B0 0W0 0B1 0W1 0B2 0W2 0B3 0W3\n"
            "1F0 1F1 1F2 1F3 1B0 1W0 1B1 1W1 1B2 1W2 1B3 1W3\n");
}

TEST(Schedule, OneFOneBTables) {
  EXPECT_EQ(one_f_one_b_schedule(1, 1).to_text(), "0F0 0B0 0W0\n");
  EXPECT_EQ(one_f_one_b_schedule(1, 3).to_text(), "0F0 0B0 0W0 0F1 0B1 0W1 0F2 0B2 0W2\n");
  EXPECT_EQ(one_f_one_b_schedule(3, 1).to_text(),
            "0F0 0B0 0W0\n"
            "1F0 1B0 1W0\n"
            "2F0 2B0 2W0\n");
  EXPECT_EQ(one_f_one_b_schedule(3, 3).to_text(),
            "0F0 0F1 0F2 0B0 0W0 0B1 0W1 0B2 0W2\n"
            "1F0 1F1 1B0 1W0 1F2 1B1 1W1 1B2 1W2\n"
            "2F0 2B0 2W0 2F1 2B1 2W1 2F2 2B2 2W2\n");
  EXPECT_EQ(one_f_one_b_schedule(4, 2).to_text(),
            "0F0 0F1 0B0 0W0 0B1 0W1\n"
            "1F0 1F1 1B0 1W0 1B1 1W1\n"
            "2F0 2F1 2B0 2W0 2B1 2W1\n"
            "3F0 3B0 3W0 3F1 3B1 3W1\n");
  EXPECT_EQ(one_f_one_b_schedule(2, 4).to_text(),
            "0F0 0F1 0B0 0W0 0F2 0B1 0W1 0F3 0B2 0W2 0B3 0W3\n"
            "1F0 1B0 1W0 1F1 1B1 1W1 1F2 1B2 1W2 1F3 1B3 1W3\n");
}

TEST(Schedule, ForwardOnlyTables) {
  EXPECT_EQ(forward_only_schedule(1, 1).to_text(), "0F0\n");
  EXPECT_EQ(forward_only_schedule(1, 3).to_text(), "0F0 0F1 0F2\n");
  EXPECT_EQ(forward_only_schedule(3, 1).to_text(), "0F0\n1F0\n2F0\n");
  EXPECT_EQ(forward_only_schedule(3, 3).to_text(), "0F0 0F1 0F2\n1F0 1F1 1F2\n2F0 2F1 2F2\n");
  EXPECT_EQ(forward_only_schedule(4, 2).to_text(), "0F0 0F1\n1F0 1F1\n2F0 2F1\n3F0 3F1\n");
  EXPECT_EQ(forward_only_schedule(2, 4).to_text(), "0F0 0F1 0F2 0F3\n1F0 1F1 1F2 1F3\n");
}

TEST(Schedule, CommunicationAroundForwardAndBackward) {
  EXPECT_EQ(with_communication(one_f_one_b_schedule(3, 2)).to_text(),
            "0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0B0 0W0 0RECV_B1 0B1 0W1\n"
            "1RECV_F0 1F0 1SEND_F0 1RECV_F1 1F1 1SEND_F1 "
            "1RECV_B0 1B0 1SEND_B0 1W0 1RECV_B1 1B1 1SEND_B1 1W1\n"
            "2RECV_F0 2F0 2B0 2SEND_B0 2W0 2RECV_F1 2F1 2B1 2SEND_B1 2W1\n");
  EXPECT_EQ(with_communication(forward_only_schedule(2, 2)).to_text(),
            "0F0 0SEND_F0 0F1 0SEND_F1\n"
            "1RECV_F0 1F0 1RECV_F1 1F1\n");
  EXPECT_EQ(with_communication(gpipe_schedule(1, 2)).to_text(), gpipe_schedule(1, 2).to_text());
}

TEST(Schedule, CommunicationIsAddedOnce) {
  const Schedule once = with_communication(gpipe_schedule(3, 2));
  EXPECT_EQ(with_communication(once).ranks, once.ranks);
  EXPECT_TRUE(has_communication(once));
  EXPECT_FALSE(has_communication(gpipe_schedule(3, 2)));
}

TEST(Schedule, StagesOnOneRankDoNotCommunicate) {
  const Schedule schedule = table(3, 1, {"0F0 2F0 2B0 2W0 0B0 0W0", "1F0 1B0 1W0"});
  EXPECT_EQ(with_communication(schedule).to_text(),
            "0F0 0SEND_F0 2RECV_F0 2F0 2B0 2SEND_B0 2W0 0RECV_B0 0B0 0W0\n"
            "1RECV_F0 1F0 1SEND_F0 1RECV_B0 1B0 1SEND_B0 1W0\n");
  const Schedule neighbours = table(3, 1, {"0F0 1F0 1B0 1W0 0B0 0W0", "2F0 2B0 2W0"});
  EXPECT_EQ(with_communication(neighbours).to_text(),
            "0F0 1F0 1SEND_F0 1RECV_B0 1B0 1W0 0B0 0W0\n"
            "2RECV_F0 2F0 2B0 2SEND_B0 2W0\n");
}

TEST(Schedule, EverySizeChecksAndNeedsTheSlotsOfItsFormula) {
  for (int stages = 1; stages <= 16; ++stages) {
    for (int micro_batches = 1; micro_batches <= 16; ++micro_batches) {
      const Schedule naive = naive_schedule(stages, micro_batches);
      const Schedule gpipe = gpipe_schedule(stages, micro_batches);
      const Schedule one_f_one_b = one_f_one_b_schedule(stages, micro_batches);
      const Schedule forward = forward_only_schedule(stages, micro_batches);
      for (const Schedule& schedule : {naive, gpipe, one_f_one_b, forward}) {
        EXPECT_NO_THROW(check(schedule, default_buffers(schedule))) << schedule.to_text();
        const Schedule full = with_communication(schedule);
        EXPECT_NO_THROW(check(full, default_buffers(full))) << full.to_text();
        EXPECT_EQ(slots_of(full), slots_of(schedule));
      }
      const auto size = static_cast<std::size_t>(stages);
      EXPECT_EQ(slots_of(naive), std::vector<int>(size, 1));
      EXPECT_EQ(slots_of(gpipe), std::vector<int>(size, micro_batches));
      EXPECT_EQ(slots_of(forward), std::vector<int>(size, 1));
      for (int stage = 0; stage < stages; ++stage) {
        EXPECT_EQ(slots_of(one_f_one_b)[stage], std::min(stages - stage, micro_batches));
      }
    }
  }
}

TEST(Schedule, SlotsAreCountedModuloTheirNumber) {
  // Never more than two micro-batches alive, but with two slots F2 would overwrite micro-batch 0.
  EXPECT_EQ(slots_of(table(1, 3, {"0F0 0F2 0B0 0W0 0F1 0B1 0W1 0B2 0W2"})), std::vector<int>{3});
}

TEST(Schedule, ByName) {
  EXPECT_EQ(schedule_names(), (std::vector<std::string>{"naive", "gpipe", "1f1b"}));
  for (const std::string& name : schedule_names()) {
    const Schedule schedule = make_schedule(name, 2, 3);
    EXPECT_EQ(schedule.name, name);
    EXPECT_EQ(schedule.stages, 2);
    EXPECT_EQ(schedule.micro_batches, 3);
  }
  EXPECT_EQ(make_schedule("1f1b", 3, 4).ranks, one_f_one_b_schedule(3, 4).ranks);
  EXPECT_THROW(make_schedule("2f2b", 2, 3), UsageError);
  EXPECT_EQ(error_of([] { make_schedule("2f2b", 2, 3); }),
            "schedule: expected one of naive, gpipe, 1f1b, got '2f2b'");
}

TEST(Schedule, RanksOfStages) {
  const Schedule schedule = table(4, 1, {"0F0 3F0", "2F0 1F0"});
  EXPECT_EQ(ranks_of_stages(schedule), (std::vector<int>{0, 1, 1, 0}));
  EXPECT_EQ(schedule.rank_of(3), 0);
  EXPECT_EQ(schedule.rank_of(1), 1);
  EXPECT_THROW(schedule.rank_of(4), Error);
  EXPECT_EQ(ranks_of_stages(table(2, 1, {"0F0"})), (std::vector<int>{0, -1}));
}

TEST(Schedule, ForwardsKeepTheirRanksAndOrder) {
  const Schedule schedule =
      table(3, 2, {"0F1 0F0 2F0 2B0 2W0 2F1 2B1 2W1 0B0 0B1 0W0 0W1", "1F1 1F0 1B0 1W0 1B1 1W1"});
  EXPECT_EQ(forwards_of(schedule).to_text(), "0F1 0F0 2F0 2F1\n1F1 1F0\n");
  EXPECT_EQ(forwards_of(with_communication(schedule)).ranks, forwards_of(schedule).ranks);
  EXPECT_FALSE(is_training(forwards_of(schedule)));
}

TEST(Schedule, RefusesNoStagesAndNoMicroBatches) {
  for (const auto generate :
       {naive_schedule, gpipe_schedule, one_f_one_b_schedule, forward_only_schedule}) {
    EXPECT_THROW(generate(0, 1), Error);
    EXPECT_THROW(generate(1, 0), Error);
    EXPECT_THROW(generate(-1, 1), Error);
  }
  EXPECT_EQ(error_of([] { gpipe_schedule(2, 0); }),
            "gpipe schedule: expected at least 1 micro-batch, got 0");
}

}  // namespace
}  // namespace stagecoach
