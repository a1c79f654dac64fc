#include "pipeline/check.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "pipeline/dependencies.h"

namespace stagecoach {
namespace {

using enum ActionKind;

constexpr std::size_t kKinds = 7;

// What has been seen of a table, and what may be in it.
class TableCheck {
 public:
  explicit TableCheck(const Schedule& schedule)
      : schedule_(schedule),
        rank_of_(ranks_of_stages(schedule)),
        trains_(is_training(schedule)),
        communicates_(has_communication(schedule)) {}

  void run() {
    for (int stage = 0; stage < schedule_.stages; ++stage) {
      STAGECOACH_CHECK(rank_of_[stage] >= 0, "check", fmt::format("a rank for stage {}", stage),
                       "none");
    }
    seen_.assign(kKinds * stages() * micro_batches(), false);
    next_.assign(stages(), {});
    for (std::size_t rank = 0; rank < schedule_.ranks.size(); ++rank) {
      for (std::size_t at = 0; at < schedule_.ranks[rank].size(); ++at) {
        check_action(static_cast<int>(rank), at);
      }
    }
    check_complete();
  }

 private:
  std::size_t stages() const { return static_cast<std::size_t>(schedule_.stages); }
  std::size_t micro_batches() const { return static_cast<std::size_t>(schedule_.micro_batches); }
  std::size_t row(ActionKind kind, int stage) const {
    return static_cast<std::size_t>(kind) * stages() + stage;
  }

  // True when stage has an action of this kind for every micro-batch; otherwise it has none.
  bool belongs(ActionKind kind, int stage) const {
    const auto has_channel = [&](int upper) {
      return communicates_ && upper >= 0 && upper + 1 < schedule_.stages &&
             rank_of_[upper] != rank_of_[upper + 1];
    };
    switch (kind) {
      case kForward:
        return true;
      case kBackwardInput:
      case kBackwardWeight:
        return trains_;
      case kSendActivation:
        return has_channel(stage);
      case kReceiveActivation:
        return has_channel(stage - 1);
      case kSendGradient:
        return trains_ && has_channel(stage - 1);
      case kReceiveGradient:
        return trains_ && has_channel(stage);
    }
    return false;
  }

  [[noreturn]] void fail(std::string expected, int rank, std::size_t at,
                         const std::string& what = "") const {
    throw Error("check", std::move(expected),
                fmt::format("rank {}, position {}: {}{}", rank, at,
                            schedule_.ranks[rank][at].to_string(), what));
  }

  void check_action(int rank, std::size_t at) {
    const Action& action = schedule_.ranks[rank][at];
    if (static_cast<std::size_t>(action.kind) >= kKinds) fail("a known kind", rank, at);
    if (action.stage < 0 || action.stage >= schedule_.stages) {
      fail(fmt::format("a stage below {}", schedule_.stages), rank, at);
    }
    if (action.micro_batch < 0 || action.micro_batch >= schedule_.micro_batches) {
      fail(fmt::format("a micro-batch below {}", schedule_.micro_batches), rank, at);
    }
    if (rank_of_[action.stage] != rank) {
      fail(fmt::format("all of stage {} on rank {}", action.stage, rank_of_[action.stage]), rank,
           at);
    }
    if (!belongs(action.kind, action.stage)) {
      fail(fmt::format("no {} on stage {}", name_of(action.kind), action.stage), rank, at);
    }
    const std::size_t index = row(action.kind, action.stage) * micro_batches() +
                              static_cast<std::size_t>(action.micro_batch);
    if (seen_[index]) fail("every action once", rank, at, " a second time");
    seen_[index] = true;
    if (action.kind == kBackwardInput || action.kind == kBackwardWeight) {
      int& next = next_[action.stage][action.kind == kBackwardWeight];
      if (action.micro_batch < next) {
        fail(fmt::format("{} of stage {} in the order of micro-batches", name_of(action.kind),
                         action.stage),
             rank, at,
             fmt::format(" after {}", Action{action.kind, action.stage, next - 1}.to_string()));
      }
      next = action.micro_batch + 1;
    }
  }

  void check_complete() const {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      for (int stage = 0; stage < schedule_.stages; ++stage) {
        const auto as_kind = static_cast<ActionKind>(kind);
        if (!belongs(as_kind, stage)) continue;
        const auto first =
            seen_.begin() + static_cast<std::ptrdiff_t>(row(as_kind, stage) * micro_batches());
        const auto last = first + schedule_.micro_batches;
        const auto missing = std::find(first, last, false);
        STAGECOACH_CHECK(
            missing == last, "check",
            fmt::format("{} on rank {}",
                        Action{as_kind, stage, static_cast<int>(missing - first)}.to_string(),
                        rank_of_[stage]),
            "a table without it");
      }
    }
  }

  const Schedule& schedule_;
  std::vector<int> rank_of_;
  bool trains_, communicates_;
  std::vector<bool> seen_;                // by kind, stage, micro-batch
  std::vector<std::array<int, 2>> next_;  // by stage: the lowest micro-batch allowed for B and W
};

void check_counts(const char* what, const std::vector<int>& counts, int stages) {
  STAGECOACH_CHECK(counts.size() == static_cast<std::size_t>(stages), "check",
                   fmt::format("the {} of {} stages", what, stages),
                   fmt::format("{} numbers", counts.size()));
  for (int stage = 0; stage < stages; ++stage) {
    STAGECOACH_CHECK(counts[stage] >= 1, "check",
                     fmt::format("at least 1 of the {} on stage {}", what, stage),
                     std::to_string(counts[stage]));
  }
}

}  // namespace

BufferCounts default_buffers(const Schedule& schedule) {
  const int two = std::clamp(schedule.micro_batches, 1, 2);
  BufferCounts buffers{slots_of(schedule), {}};
  buffers.gradient_buffers.assign(buffers.slots.size(), two);
  if (is_training(schedule)) return buffers;
  for (int stage = 0; stage + 1 < schedule.stages; ++stage) buffers.slots[stage] = two;
  return buffers;
}

void check_tables(const Schedule& schedule, const BufferCounts& buffers) {
  STAGECOACH_CHECK(schedule.stages >= 0 && schedule.micro_batches >= 0, "check",
                   "counts of stages and micro-batches",
                   fmt::format("{} and {}", schedule.stages, schedule.micro_batches));
  check_counts("slots", buffers.slots, schedule.stages);
  check_counts("gradient buffers", buffers.gradient_buffers, schedule.stages);
  TableCheck(schedule).run();
}

void check(const Schedule& schedule, const BufferCounts& buffers) {
  check_tables(schedule, buffers);
  replay(schedule, Dependencies(schedule, buffers), [](auto&&...) {});
}

}  // namespace stagecoach
