#include "pipeline/check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "tests/pipeline/table_text.h"

namespace stagecoach {
namespace {

using enum ActionKind;

std::string check_error(const Schedule& schedule, const BufferCounts& buffers) {
  return error_of([&] { check(schedule, buffers); });
}

const BufferCounts kTwo{{2, 2}, {2, 2}};  // for tables of two stages

TEST(Check, AcceptsAnyLegalOrder) {
  // Not one of ours: B before W by a whole micro-batch, F out of order, two stages on a rank.
  EXPECT_EQ(check_error(table(1, 2, {"0F1 0F0 0B0 0B1 0W0 0W1"}), {{2}, {1}}), "");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 1F0 1B0 0B0 0W0 1W0"}), {{1, 1}, {1, 1}}), "");
  EXPECT_EQ(check_error(Schedule{}, {}), "");
}

TEST(Check, DuplicatedAction) {
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0 0W0 0F0"}), {{1}, {1}}),
            "check: expected every action once, got rank 0, position 3: 0F0 a second time");
}

TEST(Check, MissingAction) {
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0F1 0B0 0W0 0B1", "1F0 1B0 1W0 1F1 1B1 1W1"}), kTwo),
            "check: expected 0W1 on rank 0, got a table without it");
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0F1", "1F0"}), kTwo),
            "check: expected 1F1 on rank 1, got a table without it");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0B0 0W0"}), kTwo),
            "check: expected a rank for stage 1, got none");
}

TEST(Check, OutOfRange) {
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0 0W0 0F1"}), {{1}, {1}}),
            "check: expected a micro-batch below 1, got rank 0, position 3: 0F1");
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0 1W0 0W0"}), {{1}, {1}}),
            "check: expected a stage below 1, got rank 0, position 2: 1W0");
  Schedule negative = table(1, 1, {"0F0"});
  negative.ranks[0][0].micro_batch = -1;
  EXPECT_NE(check_error(negative, {{1}, {1}}), "");
  negative.ranks[0][0] = {kForward, -1, 0};
  EXPECT_NE(check_error(negative, {{1}, {1}}), "");
  negative.ranks[0] = {{kForward, 0, 0}, {static_cast<ActionKind>(9), 0, 0}};
  EXPECT_NE(check_error(negative, {{1}, {1}}), "");
}

TEST(Check, StageOnTwoRanks) {
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0B0", "0W0"}), {{1}, {1}}),
            "check: expected all of stage 0 on rank 0, got rank 1, position 0: 0W0");
}

TEST(Check, WeightsBeforeInputGradient) {
  EXPECT_EQ(check_error(table(1, 1, {"0F0 0W0 0B0"}), {{1}, {1}}),
            "check: expected 0B0 before 0W0 on rank 0, got 0W0 at position 1 and 0B0 after it");
}

TEST(Check, BackwardBeforeForward) {
  EXPECT_EQ(check_error(table(1, 1, {"0B0 0W0 0F0"}), {{1}, {1}}),
            "check: expected 0F0 before 0B0 on rank 0, got 0B0 at position 0 and 0F0 after it");
}

TEST(Check, GradientsAddedInAnotherOrder) {
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0F1 0B0 0B1 0W1 0W0"}), {{2}, {1}}),
            "check: expected W of stage 0 in the order of micro-batches, got rank 0, position 5: "
            "0W0 after 0W1");
  EXPECT_EQ(check_error(table(1, 2, {"0F0 0F1 0B1 0B0 0W0 0W1"}), {{2}, {1}}),
            "check: expected B of stage 0 in the order of micro-batches, got rank 0, position 3: "
            "0B0 after 0B1");
}

TEST(Check, Communication) {
  const BufferCounts one{{1, 1}, {1, 1}};
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0SEND_F0", "1F0"}), one),
            "check: expected 1RECV_F0 on rank 1, got a table without it");
  EXPECT_EQ(check_error(table(2, 1, {"0F0", "1RECV_F0 1F0"}), one),
            "check: expected 0SEND_F0 on rank 0, got a table without it");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0SEND_F0", "1RECV_F0 1F0 1SEND_F0"}), one),
            "check: expected no SEND_F on stage 1, got rank 1, position 2: 1SEND_F0");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0SEND_F0 1RECV_F0 1F0"}), one),
            "check: expected no SEND_F on stage 0, got rank 0, position 1: 0SEND_F0");
  EXPECT_EQ(check_error(table(2, 1, {"0SEND_F0 0F0", "1RECV_F0 1F0"}), one),
            "check: expected 0F0 before 0SEND_F0 on rank 0, got 0SEND_F0 at position 0 and 0F0 "
            "after it");
  EXPECT_EQ(check_error(table(2, 1, {"0F0 0SEND_F0", "1F0 1RECV_F0"}), one),
            "check: expected 1RECV_F0 before 1F0 on rank 1, got 1F0 at position 0 and 1RECV_F0 "
            "after it");
}

TEST(Check, TooFewSlots) {
  EXPECT_EQ(check_error(gpipe_schedule(2, 3), kTwo),
            "check: expected 0W0 before 0F2 on rank 0, got 0F2 at position 2 and 0W0 after it; "
            "stage 0 has 2 slots, and micro-batch 0 is still in the one to write");
  for (int stage = 0; stage < 4; ++stage) {
    const Schedule schedule = one_f_one_b_schedule(5, 8);
    BufferCounts buffers = default_buffers(schedule);
    EXPECT_EQ(check_error(schedule, buffers), "");
    --buffers.slots[stage];
    EXPECT_NE(check_error(schedule, buffers), "");
  }
}

TEST(Check, CountsOfBuffers) {
  const Schedule schedule = naive_schedule(2, 1);
  EXPECT_EQ(check_error(schedule, {{1}, {1, 1}}),
            "check: expected the slots of 2 stages, got 1 numbers");
  EXPECT_EQ(check_error(schedule, {{1, 1}, {1}}),
            "check: expected the gradient buffers of 2 stages, got 1 numbers");
  EXPECT_EQ(check_error(schedule, {{1, 0}, {1, 1}}),
            "check: expected at least 1 of the slots on stage 1, got 0");
}

TEST(Check, DefaultBuffers) {
  EXPECT_EQ(default_buffers(one_f_one_b_schedule(3, 4)).slots, (std::vector<int>{3, 2, 1}));
  EXPECT_EQ(default_buffers(one_f_one_b_schedule(3, 4)).gradient_buffers,
            (std::vector<int>{2, 2, 2}));
  EXPECT_EQ(default_buffers(gpipe_schedule(2, 1)).gradient_buffers, (std::vector<int>{1, 1}));
  EXPECT_EQ(default_buffers(forward_only_schedule(3, 4)).slots, (std::vector<int>{2, 2, 1}));
  EXPECT_EQ(default_buffers(forward_only_schedule(3, 1)).slots, (std::vector<int>{1, 1, 1}));
}

TEST(Check, DeadlockNamesTheCycle) {
  const BufferCounts one{{1, 1}, {1, 1}};
  EXPECT_EQ(
      check_error(table(2, 1, {"0F0 0RECV_B0 0SEND_F0 0B0 0W0", "1RECV_F0 1F0 1B0 1SEND_B0 1W0"}),
                  one),
      "check: expected an order in which every rank can go on, got a deadlock: "
      "rank 0 waits at 0RECV_B0 (position 1) for 1SEND_B0; "
      "rank 1 waits at 1RECV_F0 (position 0) for 0SEND_F0");
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0B0 0W0 0F1 0B1 0W1", "1F0 1F1 1B0 1W0 1B1 1W1"}), kTwo),
            "check: expected an order in which every rank can go on, got a deadlock: "
            "rank 0 waits at 0B0 (position 1) for 1B0; "
            "rank 1 waits at 1F1 (position 1) for 0F1");
}

TEST(Check, DeadlockNamesOnlyTheRanksOfTheCycle) {
  // Rank 0 waits for rank 1 but nobody waits for rank 0's next action.
  EXPECT_EQ(check_error(table(3, 2,
                              {"0F0 0F1 0B0 0W0 0B1 0W1", "1F0 1B0 1W0 1F1 1B1 1W1",
                               "2F0 2F1 2B0 2W0 2B1 2W1"}),
                        {{2, 2, 2}, {2, 2, 2}}),
            "check: expected an order in which every rank can go on, got a deadlock: "
            "rank 1 waits at 1B0 (position 1) for 2B0; "
            "rank 2 waits at 2F1 (position 1) for 1F1");
}

TEST(Check, DeadlockOverBuffers) {
  // Stage 0's only slot is read by stage 1, whose W0 comes after its F1.
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0B0 0W0 0F1 0B1 0W1", "1F0 1B0 1F1 1W0 1B1 1W1"}),
                        {{1, 2}, {2, 2}}),
            "check: expected an order in which every rank can go on, got a deadlock: "
            "rank 0 waits at 0F1 (position 3) for 1W0 (stage 0 has 1 slot, and micro-batch 0 is "
            "still in the one to write); "
            "rank 1 waits at 1F1 (position 2) for 0F1");
  // Stage 1 cannot write the gradient of micro-batch 1 before stage 0 has used that of 0.
  EXPECT_EQ(check_error(table(2, 2, {"0F0 0F1 0B0 0B1 0W0 0W1", "1F0 1F1 1B0 1W0 1B1 1W1"}),
                        {{2, 2}, {1, 1}}),
            "check: expected an order in which every rank can go on, got a deadlock: "
            "rank 0 waits at 0B1 (position 3) for 1B1; "
            "rank 1 waits at 1B1 (position 4) for 0W0 (stage 1 has 1 gradient buffer, and "
            "micro-batch 0 is still in the one to write)");
}

// An independent judge: the machine itself, with its buffers, run greedily. It knows nothing of
// dependencies: an action runs when what it reads is there and what it writes is free.
class Machine {
 public:
  Machine(const Schedule& schedule, const BufferCounts& buffers)
      : schedule_(schedule), buffers_(buffers) {
    for (const auto& actions : schedule.ranks) {
      for (const Action& action : actions) {
        const bool compute = action.kind <= kBackwardWeight;
        trains_ = trains_ || (compute && action.kind != kForward);
        communicates_ = communicates_ || !compute;
      }
    }
  }

  bool accepts() {
    if (!complete()) return false;
    std::vector<std::size_t> position(schedule_.ranks.size(), 0);
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t rank = 0; rank < position.size(); ++rank) {
        const auto& actions = schedule_.ranks[rank];
        while (position[rank] < actions.size() && try_run(actions[position[rank]])) {
          ++position[rank];
          moved = true;
        }
      }
    }
    for (std::size_t rank = 0; rank < position.size(); ++rank) {
      if (position[rank] < schedule_.ranks[rank].size()) return false;
    }
    return true;
  }

 private:
  bool apart(int upper) { return owner_.at(upper) != owner_.at(upper + 1); }

  // Range, owners, and every action that has to be there exactly once.
  bool complete() {
    std::map<std::tuple<ActionKind, int, int>, int> count;
    for (std::size_t rank = 0; rank < schedule_.ranks.size(); ++rank) {
      for (const Action& action : schedule_.ranks[rank]) {
        ++count[{action.kind, action.stage, action.micro_batch}];
        if (owner_.emplace(action.stage, rank).first->second != rank) return false;
      }
    }
    std::map<std::tuple<ActionKind, int, int>, int> wanted;
    for (int stage = 0; stage < schedule_.stages; ++stage) {
      if (owner_.count(stage) == 0) return false;
    }
    for (int stage = 0; stage < schedule_.stages; ++stage) {
      for (int micro = 0; micro < schedule_.micro_batches; ++micro) {
        wanted[{kForward, stage, micro}] = 1;
        if (trains_) wanted[{kBackwardInput, stage, micro}] = 1;
        if (trains_) wanted[{kBackwardWeight, stage, micro}] = 1;
        if (!communicates_ || stage + 1 == schedule_.stages || !apart(stage)) continue;
        wanted[{kSendActivation, stage, micro}] = 1;
        wanted[{kReceiveActivation, stage + 1, micro}] = 1;
        if (trains_) wanted[{kSendGradient, stage + 1, micro}] = 1;
        if (trains_) wanted[{kReceiveGradient, stage, micro}] = 1;
      }
    }
    return count == wanted;
  }

  // A buffer is free or full; it takes part under (0 slot or 1 gradient, stage, number).
  using BufferName = std::tuple<int, int, int>;
  BufferName slot(int stage, int micro) { return {0, stage, micro % buffers_.slots[stage]}; }
  BufferName gradient(int stage, int micro) {
    return {1, stage, micro % buffers_.gradient_buffers[stage]};
  }
  // Slots are a ring: each takes its micro-batches in ascending order. Nobody reads the slot of the
  // last stage of a forward-only table, so there is none to wait for.
  bool is_turn_of(int stage, int micro) {
    const bool read = trains_ || stage + 1 < schedule_.stages;
    return !read || micro == slot_uses_[slot(stage, micro)] * buffers_.slots[stage] +
                                 micro % buffers_.slots[stage];
  }
  bool ran(ActionKind kind, int stage, int micro) { return done_.count({kind, stage, micro}) > 0; }
  bool arrived(ActionKind receive, ActionKind maker, int stage, int from, int micro) {
    const bool by_message = communicates_ && owner_.at(stage) != owner_.at(from);
    return by_message ? ran(receive, stage, micro) : ran(maker, from, micro);
  }
  bool ready(const Action& action) {
    const auto [kind, stage, micro] = action;
    switch (kind) {
      case kForward:
        return readers_[slot(stage, micro)] == 0 && is_turn_of(stage, micro) &&
               (stage == 0 || arrived(kReceiveActivation, kForward, stage, stage - 1, micro));
      case kBackwardInput:
        if (micro != next_b_[stage] || !ran(kForward, stage, micro)) return false;
        if (stage > 0 && readers_[gradient(stage, micro)] > 0) return false;
        return stage + 1 == schedule_.stages ||
               arrived(kReceiveGradient, kBackwardInput, stage, stage + 1, micro);
      case kBackwardWeight:
        return micro == next_w_[stage] && ran(kBackwardInput, stage, micro);
      case kSendActivation:
        return ran(kForward, stage, micro);
      case kReceiveActivation:
        return ran(kSendActivation, stage - 1, micro);
      case kSendGradient:
        return ran(kBackwardInput, stage, micro);
      case kReceiveGradient:
        return ran(kSendGradient, stage + 1, micro);
    }
    return false;
  }
  bool try_run(const Action& action) {
    if (!ready(action)) return false;
    const auto [kind, stage, micro] = action;
    const bool has_next = stage + 1 < schedule_.stages;
    if (kind == kForward) {
      ++slot_uses_[slot(stage, micro)];
      readers_[slot(stage, micro)] = (trains_ ? 1 : 0) + (has_next ? 1 : 0);
      if (!trains_ && stage > 0) --readers_[slot(stage - 1, micro)];
    } else if (kind == kBackwardInput) {
      ++next_b_[stage];
      if (stage > 0) readers_[gradient(stage, micro)] = 1;
    } else if (kind == kBackwardWeight) {
      ++next_w_[stage];
      --readers_[slot(stage, micro)];
      if (stage > 0) --readers_[slot(stage - 1, micro)];
      if (has_next) --readers_[gradient(stage + 1, micro)];
    }
    done_[{kind, stage, micro}] = true;
    return true;
  }

  const Schedule& schedule_;
  const BufferCounts& buffers_;
  bool trains_ = false, communicates_ = false;
  std::map<int, std::size_t> owner_;
  std::map<BufferName, int> readers_;    // that have still to read the buffer
  std::map<BufferName, int> slot_uses_;  // so far
  std::map<int, int> next_b_, next_w_;
  std::map<std::tuple<ActionKind, int, int>, bool> done_;
};

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  int below(std::size_t limit) { return static_cast<int>(random_() % limit); }

  Schedule legal() {
    const int stages = 1 + below(4), micro_batches = 1 + below(4);
    const std::array generators{naive_schedule, gpipe_schedule, one_f_one_b_schedule,
                                forward_only_schedule};
    Schedule schedule = generators[below(generators.size())](stages, micro_batches);
    if (stages > 1 && below(3) == 0) merge_two_ranks(schedule);
    return below(2) == 0 ? with_communication(schedule) : schedule;
  }

  // Two ranks' tables, shuffled into one: several stages on a rank, often in no possible order.
  void merge_two_ranks(Schedule& schedule) {
    std::vector<Action> other = std::move(schedule.ranks.back()), merged;
    schedule.ranks.pop_back();
    std::vector<Action>& own = schedule.ranks[below(schedule.ranks.size())];
    std::size_t i = 0, j = 0;
    while (i < own.size() || j < other.size()) {
      const bool take_own = j == other.size() || (i < own.size() && below(2) == 0);
      merged.push_back(take_own ? own[i++] : other[j++]);
    }
    own = merged;
  }

  void mutate(Schedule& schedule) {
    std::vector<Action>& actions = schedule.ranks[below(schedule.ranks.size())];
    if (actions.empty()) return;
    const int at = below(actions.size());
    switch (below(12)) {
      case 0:
        actions.erase(actions.begin() + at);
        break;
      case 1:
        actions.push_back(actions[at]);
        break;
      case 2:
        actions[at].micro_batch = below(5) - 1;
        break;
      case 3:
        actions[at].stage = below(5) - 1;
        break;
      case 4:
        std::shuffle(actions.begin(), actions.end(), random_);
        break;
      case 5: {
        const Action moved = actions[at];
        actions.erase(actions.begin() + at);
        schedule.ranks[below(schedule.ranks.size())].push_back(moved);
        break;
      }
      case 6:
      case 7:
        std::swap(actions[at], actions[below(actions.size())]);
        break;
      default:
        if (at > 0) std::swap(actions[at], actions[at - 1]);
    }
  }

 private:
  std::mt19937 random_;
};

TEST(Check, AcceptsExactlyWhatTheMachineFinishes) {
  Mutator mutator(7);
  int accepted = 0;
  const int rounds = 20000;
  for (int round = 0; round < rounds; ++round) {
    Schedule schedule = mutator.legal();
    BufferCounts buffers = default_buffers(schedule);
    for (int i = mutator.below(4); i > 0; --i) mutator.mutate(schedule);
    for (int& count : buffers.slots) count = std::max(1, count + mutator.below(2));
    if (mutator.below(3) == 0) --buffers.slots[mutator.below(buffers.slots.size())];
    for (int& count : buffers.slots) count = std::max(1, count);
    for (int& count : buffers.gradient_buffers) count = 1 + mutator.below(2);
    const std::string error = check_error(schedule, buffers);
    ASSERT_EQ(error.empty(), Machine(schedule, buffers).accepts()) << error << "\n"
                                                                   << schedule.to_text();
    accepted += error.empty() ? 1 : 0;
  }
  // The test would say little if nearly all tables were legal, or nearly none.
  EXPECT_GT(accepted, rounds / 5);
  EXPECT_LT(accepted, rounds * 4 / 5);
}

}  // namespace
}  // namespace stagecoach
