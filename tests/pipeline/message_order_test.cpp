#include "pipeline/message_order.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

// One event of a stage, which is its rank.
TraceEvent event(TraceKind kind, int stage, double start, double end, int micro_batch = 0) {
  return {kind, stage, stage, micro_batch, 1, start, end};
}

// F on `stages` stages and B back, each a second long and begun when its message is there; messages
// take `latency`. By stage, events are `late` later.
std::vector<TraceEvent> there_and_back(const std::vector<double>& late, double latency = 0.1) {
  using enum TraceKind;
  const int last = static_cast<int>(late.size()) - 1;
  std::vector<TraceEvent> events;
  for (int stage = 0; stage <= last; ++stage) {
    const double forward = stage * (1 + latency),
                 backward = last * (1 + latency) + 1 + (last - stage) * (1 + latency);
    if (stage > 0) events.push_back(event(kReceive, stage, forward, forward));
    events.push_back(event(kForward, stage, forward, forward + 1));
    if (stage < last) {
      events.push_back(event(kSend, stage, forward + 1, forward + 1));
      events.push_back(event(kReceive, stage, backward, backward));
    }
    events.push_back(event(kBackwardInput, stage, backward, backward + 1));
    if (stage > 0) events.push_back(event(kSend, stage, backward + 1, backward + 1));
  }
  for (TraceEvent& each : events) {
    each.start += late[static_cast<std::size_t>(each.stage)];
    each.end += late[static_cast<std::size_t>(each.stage)];
  }
  return events;
}

double first_start(const std::vector<TraceEvent>& events, int stage) {
  for (const TraceEvent& each : events) {
    if (each.stage == stage) return each.start;
  }
  ADD_FAILURE() << "no event of stage " << stage;
  return 0;
}

void expect_moved(const std::vector<double>& late, const std::vector<int>& machines,
                  const std::vector<double>& expected) {
  const std::vector<TraceEvent> before = there_and_back(late);
  std::vector<TraceEvent> after = before;
  keep_messages_in_order(after, machines);
  ASSERT_EQ(after.size(), before.size());
  for (std::size_t i = 0; i < after.size(); ++i) {
    const auto stage = static_cast<std::size_t>(after[i].stage);
    EXPECT_NEAR(after[i].start - before[i].start, expected[stage], 1e-8) << "stage " << stage;
    EXPECT_NEAR(after[i].end - after[i].start, before[i].end - before[i].start, 1e-12);
  }
}

TEST(MessageOrder, LeavesWhatIsInOrder) {
  expect_moved({0, 0, 0}, {0, 1, 2}, {0, 0, 0});
  expect_moved({0, 0.05, -0.05}, {0, 1, 2}, {0, 0, 0});
}

// A message takes 0.1: of a clock that is 0.3 behind, 0.2 are seen.
TEST(MessageOrder, MovesAMachineUntilNoSendEndsAfterItsReceive) {
  expect_moved({0, -0.3}, {0, 1}, {0, 0.2});  // the activation
  expect_moved({0, 0.3}, {0, 1}, {0.2, 0});   // the gradient
  std::vector<TraceEvent> events = there_and_back({0, -0.3});
  keep_messages_in_order(events, {0, 1});
  EXPECT_GE(first_start(events, 1), 1.0);  // strictly: no rounding is left
}

TEST(MessageOrder, MovesOthersThatFollow) {
  expect_moved({0, -0.3, -0.3}, {0, 1, 2}, {0, 0.2, 0.1});
  expect_moved({0, -0.3, -0.3}, {0, 1, 1}, {0, 0.2, 0.2});
}

TEST(MessageOrder, RanksOfOneMachineStayAsTheyAre) {
  expect_moved({0, -0.3}, {0, 0}, {0, 0});
}

// Two gradients: by micro-batch.
TEST(MessageOrder, TellsMessagesApartByMicroBatch) {
  using enum TraceKind;
  std::vector<TraceEvent> events = {event(kForward, 0, 0, 1, 0),    event(kSend, 0, 1, 1, 0),
                                    event(kForward, 0, 1, 2, 1),    event(kSend, 0, 2, 2, 1),
                                    event(kReceive, 1, 1, 1, 0),    event(kForward, 1, 1, 1.4, 0),
                                    event(kReceive, 1, 1.4, 1.5, 1)};
  keep_messages_in_order(events, {0, 1});
  EXPECT_NEAR(first_start(events, 1), 1.5, 1e-8);
}

// No offset can be right: it ends all the same.
TEST(MessageOrder, GivesUpWhereAClockHasJumped) {
  using enum TraceKind;
  std::vector<TraceEvent> events = {event(kForward, 0, 0, 1),     event(kSend, 0, 1, 1),
                                    event(kReceive, 0, 0.2, 0.2), event(kReceive, 1, 0.5, 0.5),
                                    event(kForward, 1, 1, 2),     event(kBackwardInput, 1, 2, 3),
                                    event(kSend, 1, 3, 3)};
  keep_messages_in_order(events, {0, 1});
  for (const TraceEvent& each : events) EXPECT_LT(each.end, 20);
}

TEST(MessageOrder, NoEventsNoRanks) {
  std::vector<TraceEvent> events;
  keep_messages_in_order(events, {});
  EXPECT_TRUE(events.empty());
}

}  // namespace
}  // namespace stagecoach
