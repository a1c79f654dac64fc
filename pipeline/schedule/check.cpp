#include "pipeline/schedule/check.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "core/error.h"
#include "pipeline/schedule/dependencies.h"

namespace stagecoach {
namespace {

using enum ActionKind;

constexpr std::uint16_t bit(ActionKind kind) {
  return static_cast<std::uint16_t>(1u << static_cast<unsigned>(kind));
}

// What a stage has had of its actions for a micro-batch. BW counts as B and W.
constexpr std::uint16_t bits_of(ActionKind kind) {
  return kind == kBackward ? bit(kBackwardInput) | bit(kBackwardWeight) : bit(kind);
}

class TableCheck {
 public:
  TableCheck(const Schedule& schedule, WeightOrder order)
      : schedule_(schedule),
        order_(order),
        placement_(schedule),
        trains_(is_training(schedule)),
        communicates_(has_communication(schedule)) {}

  void run() {
    for (int stage = 0; stage < schedule_.stages; ++stage) check_replicas(stage);
    seen_.assign(static_cast<std::size_t>(schedule_.stages) * micro_batches(), 0);
    next_weight_.assign(static_cast<std::size_t>(schedule_.stages) * placement_.groups(), 0);
    progress_.assign(placement_.ranks().size(), {});
    for (int upper = 0; communicates_ && upper + 1 < schedule_.stages; ++upper) {
      channels_.emplace_back(static_cast<std::size_t>(placement_.pairs(upper)));
    }
    for (std::size_t rank = 0; rank < schedule_.ranks.size(); ++rank) {
      STAGECOACH_CHECK(!schedule_.ranks[rank].empty(), "check",
                       fmt::format("an action on rank {}", rank), "none");
      for (std::size_t at = 0; at < schedule_.ranks[rank].size(); ++at) {
        check_action(static_cast<int>(rank), at);
      }
    }
    check_complete();
    check_order_of_messages();
  }

 private:
  struct Progress {
    int weights = 0;  // W so far
    bool reduced = false, stepped = false;
  };
  // Micro-batches in the order of their messages between a stage and the one after it, of a replica
  // of each.
  struct ChannelOrder {
    std::vector<int> sent_activations, posted_activations, sent_gradients, posted_gradients;
  };

  std::size_t micro_batches() const { return static_cast<std::size_t>(schedule_.micro_batches); }
  std::uint16_t& seen(int stage, int micro_batch) {
    return seen_[static_cast<std::size_t>(stage) * micro_batches() + micro_batch];
  }
  // Whether messages go between the stage and the one after it for the micro-batch.
  bool has_channel(int upper, int micro) const {
    return communicates_ && upper >= 0 && upper + 1 < schedule_.stages &&
           placement_.apart(upper, micro);
  }
  Progress& progress_of(int stage, int rank) {
    const auto ranks = placement_.ranks_of(stage);
    const auto replica = std::ranges::find(ranks, rank) - ranks.begin();
    return progress_[placement_.index(stage, static_cast<int>(replica))];
  }

  // A power of two of replicas, each with as many micro-batches.
  void check_replicas(int stage) const {
    STAGECOACH_CHECK(placement_.ranks_of(stage).front() >= 0, "check",
                     fmt::format("a rank for stage {}", stage), "none");
    const int replicas = placement_.replicas(stage);
    STAGECOACH_CHECK(
        std::has_single_bit(static_cast<unsigned>(replicas)) &&
            schedule_.micro_batches % replicas == 0,
        "check",
        fmt::format("stage {} on one rank, or on 2, 4, 8, ... that divide the {} micro-batches",
                    stage, schedule_.micro_batches),
        fmt::format("on {}: {}", replicas, fmt::join(placement_.ranks_of(stage), ", ")));
  }

  // What the stage must have for the micro-batch.
  std::uint16_t required(int stage, int micro) const {
    std::uint16_t bits = bit(kForward);
    if (trains_) bits |= bit(kBackwardInput) | bit(kBackwardWeight);
    if (has_channel(stage, micro)) bits |= bit(kSendActivation);
    if (has_channel(stage - 1, micro)) bits |= bit(kReceiveActivation);
    if (trains_ && has_channel(stage - 1, micro)) bits |= bit(kSendGradient);
    if (trains_ && has_channel(stage, micro)) bits |= bit(kReceiveGradient);
    return bits;
  }
  // What it must have had before an action.
  std::uint16_t needed_before(const Action& action) const {
    const std::uint16_t all = required(action.stage, action.micro_batch);
    switch (action.kind) {
      case kForward:
        return all & bit(kReceiveActivation);
      case kRecompute:
      case kSendActivation:
        return bit(kForward);
      case kBackwardInput:
      case kBackward:
        return bit(kForward) | (all & bit(kReceiveGradient));
      case kBackwardWeight:
      case kSendGradient:
        return bit(kBackwardInput);
      default:
        return 0;
    }
  }

  [[noreturn]] void fail(std::string expected, int rank, std::size_t at,
                         const std::string& what = "") const {
    const std::string line =
        schedule_.lines.empty() ? "" : fmt::format("line {}, ", schedule_.lines.at(rank));
    throw Error("check", std::move(expected),
                fmt::format("{}rank {}, position {}: {}{}", line, rank, at,
                            schedule_.ranks[rank][at].to_string(), what));
  }

  void check_action(int rank, std::size_t at) {
    const Action& action = schedule_.ranks[rank][at];
    if (!is_known(action.kind)) fail("a known kind", rank, at);
    if (action.stage < 0 || action.stage >= schedule_.stages) {
      fail(fmt::format("a stage below {}", schedule_.stages), rank, at);
    }
    if (is_per_stage(action.kind)) return check_stage_action(rank, at);
    if (action.micro_batch < 0 || action.micro_batch >= schedule_.micro_batches) {
      fail(fmt::format("a micro-batch below {}", schedule_.micro_batches), rank, at);
    }
    check_rank(rank, at);
    check_belongs(rank, at);
    check_order(rank, at);
    if (communicates_) note_message(action);
  }

  void check_rank(int rank, std::size_t at) const {
    const Action& action = schedule_.ranks[rank][at];
    const int right = placement_.rank_of(action.stage, action.micro_batch);
    if (right == rank) return;
    if (placement_.replicas(action.stage) == 1) {
      fail(fmt::format("all of stage {} on rank {}", action.stage, right), rank, at);
    }
    const int begin = placement_.block_begin(action.stage, action.micro_batch);
    fail(fmt::format("micro-batches {} to {} of stage {} on rank {}, as it is on ranks {}", begin,
                     begin + placement_.block(action.stage) - 1, action.stage, right,
                     fmt::join(placement_.ranks_of(action.stage), ", ")),
         rank, at);
  }

  void check_belongs(int rank, std::size_t at) {
    const Action& action = schedule_.ranks[rank][at];
    const std::uint16_t bits = bits_of(action.kind);
    const bool optional = action.kind == kRecompute && trains_;
    if (!optional && (required(action.stage, action.micro_batch) & bits) != bits) {
      fail(fmt::format("no {} on stage {}", name_of(action.kind), action.stage), rank, at);
    }
    std::uint16_t& had = seen(action.stage, action.micro_batch);
    if ((had & bits) != 0) fail("every action once", rank, at, " a second time");
    had |= bits;
  }

  void check_order(int rank, std::size_t at) {
    const Action& action = schedule_.ranks[rank][at];
    const std::uint16_t had = seen(action.stage, action.micro_batch);
    const std::uint16_t missing = needed_before(action) & ~had;
    for (const ActionTraits& one : kActions) {
      if ((missing & bit(one.kind)) == 0) continue;
      fail_missing({one.kind, action.stage, action.micro_batch}, rank, at);
    }
    if (action.kind == kRecompute && (had & bit(kBackwardInput)) != 0) {
      fail(fmt::format("R before B of micro-batch {}", action.micro_batch), rank, at, " after it");
    }
    if (action.kind != kBackwardWeight && action.kind != kBackward) return;
    ++progress_of(action.stage, rank).weights;
    check_weight_order(rank, at);
  }

  void check_weight_order(int rank, std::size_t at) {
    const Action& action = schedule_.ranks[rank][at];
    const int groups = placement_.groups(), group = action.micro_batch / placement_.group_size();
    int& next = next_weight_[action.stage * groups + group];
    if (order_ == WeightOrder::kMicroBatches && action.micro_batch < next) {
      const int begin = group * placement_.group_size();
      fail(fmt::format("W of stage {} in the order of micro-batches{}", action.stage,
                       groups == 1 ? ""
                                   : fmt::format(" {} to {}, one of {} groups", begin,
                                                 begin + placement_.group_size() - 1, groups)),
           rank, at,
           fmt::format(" after {}", Action{kBackwardWeight, action.stage, next - 1}.to_string()));
    }
    next = action.micro_batch + 1;
  }

  // An action that must come before the one at `at` does not.
  [[noreturn]] void fail_missing(const Action& needed, int rank, std::size_t at) const {
    const auto& actions = schedule_.ranks[rank];
    const bool later = std::any_of(actions.begin() + static_cast<std::ptrdiff_t>(at), actions.end(),
                                   [&](const Action& action) {
                                     return action.stage == needed.stage &&
                                            action.micro_batch == needed.micro_batch &&
                                            (bits_of(action.kind) & bit(needed.kind)) != 0;
                                   });
    fail(fmt::format("{} before {}", needed.to_string(), actions[at].to_string()), rank, at,
         later ? ", and that after it" : ", and a table without it");
  }

  void check_stage_action(int rank, std::size_t at) {
    const Action& action = schedule_.ranks[rank][at];
    if (!trains_) fail(fmt::format("no {} without B and W", name_of(action.kind)), rank, at);
    if (action.micro_batch != -1) {
      fail(fmt::format("no micro-batch of {}", name_of(action.kind)), rank, at);
    }
    const auto ranks = placement_.ranks_of(action.stage);
    const auto own = std::ranges::find(ranks, rank);
    if (own == ranks.end()) {
      fail(fmt::format("all of stage {} on rank {}", action.stage, fmt::join(ranks, ", ")), rank,
           at);
    }
    Progress& stage = progress_of(action.stage, rank);
    const int block = placement_.block(action.stage);
    if (stage.weights < block) {
      const auto replica = static_cast<int>(own - ranks.begin());
      const Action last{kBackwardWeight, action.stage, (replica + 1) * block - 1};
      fail(fmt::format("{} before {}", last.to_string(), action.to_string()), rank, at);
    }
    const bool reduce = action.kind == kReduceGradient;
    if (reduce && stage.stepped) fail("REDUCE_GRAD before STEP", rank, at, " after it");
    bool& done = reduce ? stage.reduced : stage.stepped;
    if (done) fail("every action once", rank, at, " a second time");
    done = true;
  }

  void note_message(const Action& action) {
    const int stage = action.stage, micro = action.micro_batch;
    const auto channel = [&](int upper) -> ChannelOrder& {
      return channels_[upper][placement_.pair_of(upper, micro)];
    };
    if (action.kind == kSendActivation) channel(stage).sent_activations.push_back(micro);
    if (action.kind == kReceiveActivation) channel(stage - 1).posted_activations.push_back(micro);
    if (action.kind == kSendGradient) channel(stage - 1).sent_gradients.push_back(micro);
    if (action.kind == kReceiveGradient) channel(stage).posted_gradients.push_back(micro);
  }

  void check_complete() {
    const auto absent = [&](const Action& action, int rank) {
      throw Error("check", fmt::format("{} on rank {}", action.to_string(), rank),
                  schedule_.lines.empty()
                      ? "a table without it"
                      : fmt::format("line {} without it", schedule_.lines.at(rank)));
    };
    for (int stage = 0; stage < schedule_.stages; ++stage) {
      for (int micro = 0; micro < schedule_.micro_batches; ++micro) {
        const std::uint16_t missing = required(stage, micro) & ~seen(stage, micro);
        if (missing == 0) continue;
        for (const ActionTraits& one : kActions) {
          if ((missing & bit(one.kind)) == 0) continue;
          absent({one.kind, stage, micro}, placement_.rank_of(stage, micro));
        }
      }
    }
    // A stage that is on one rank may leave its sum, of nothing, to the others.
    const bool steps = std::ranges::any_of(progress_, &Progress::stepped);
    const bool reduces = std::ranges::any_of(progress_, &Progress::reduced);
    for (int stage = 0; stage < schedule_.stages; ++stage) {
      for (const int rank : placement_.ranks_of(stage)) {
        const Progress& progress = progress_of(stage, rank);
        if (reduces && placement_.replicas(stage) > 1 && !progress.reduced) {
          absent({kReduceGradient, stage, -1}, rank);
        }
        if (steps && !progress.stepped) absent({kOptimizerStep, stage, -1}, rank);
      }
    }
  }

  void check_order_of_messages() const {
    for (int stage = 0; stage + 1 < schedule_.stages && communicates_; ++stage) {
      for (const ChannelOrder& channel : channels_[stage]) {
        check_same_order(channel.sent_activations, channel.posted_activations, kReceiveActivation,
                         stage + 1);
        check_same_order(channel.sent_gradients, channel.posted_gradients, kReceiveGradient, stage);
      }
    }
  }

  void check_same_order(const std::vector<int>& sent, const std::vector<int>& posted,
                        ActionKind kind, int receiver) const {
    const auto [one, other] = std::ranges::mismatch(sent, posted);
    if (one == sent.end()) return;
    const int rank = placement_.rank_of(receiver, *other);
    const std::vector<Action>& actions = schedule_.ranks[rank];
    const auto at = std::ranges::find(actions, Action{kind, receiver, *other});
    const int from = kind == kReceiveActivation ? receiver - 1 : receiver + 1;
    fail(fmt::format("{} here, in the order of the sends of stage {}",
                     Action{kind, receiver, *one}.to_string(), from),
         rank, static_cast<std::size_t>(at - actions.begin()));
  }

  const Schedule& schedule_;
  const WeightOrder order_;
  const Placement placement_;
  bool trains_, communicates_;
  std::vector<std::uint16_t> seen_;  // by stage and micro-batch: bits of the kinds
  std::vector<int> next_weight_;     // by stage and group: the lowest micro-batch allowed for W
  std::vector<Progress> progress_;   // by stage and replica
  std::vector<std::vector<ChannelOrder>> channels_;  // by upper stage and pair of replicas
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

void check_enough(const char* what, const std::vector<int>& counts,
                  const std::vector<int>& needed) {
  for (std::size_t stage = 0; stage < counts.size(); ++stage) {
    STAGECOACH_CHECK(counts[stage] >= needed[stage], "check",
                     fmt::format("at least {} {} on stage {}", needed[stage], what, stage),
                     std::to_string(counts[stage]));
  }
}

void check_reach(const char* what, const std::vector<int>& reach, int stages, bool down) {
  if (reach.empty()) return;
  STAGECOACH_CHECK(reach.size() == static_cast<std::size_t>(stages), "check",
                   fmt::format("the {} readers of {} stages", what, stages),
                   fmt::format("{} numbers", reach.size()));
  for (int stage = down ? 0 : 1; stage < (down ? stages - 1 : stages); ++stage) {
    const int least = down ? stage + 1 : 0, most = down ? stages - 1 : stage - 1;
    STAGECOACH_CHECK(reach[stage] >= least && reach[stage] <= most, "check",
                     fmt::format("a {} reader from {} to {} of stage {}", what, least, most, stage),
                     std::to_string(reach[stage]));
  }
}

void check_buffers(const BufferCounts& buffers, int stages) {
  check_counts("slots", buffers.slots, stages);
  check_counts("received inputs", buffers.received, stages);
  check_counts("received gradients", buffers.received_gradients, stages);
  check_counts("gradient slots", buffers.gradient_slots, stages);
  check_counts("outputs", buffers.outputs, stages);
  check_counts("input gradients", buffers.input_gradients, stages);
}

}  // namespace

Program check(Schedule schedule, const CheckOptions& options) {
  STAGECOACH_CHECK(schedule.stages >= 0 && schedule.micro_batches >= 0, "check",
                   "counts of stages and micro-batches",
                   fmt::format("{} and {}", schedule.stages, schedule.micro_batches));
  TableCheck(schedule, options.order).run();
  check_reach("last", options.reach.last_reader, schedule.stages, true);
  check_reach("first", options.reach.first_reader, schedule.stages, false);
  if (options.buffers) check_buffers(*options.buffers, schedule.stages);
  const Program program(std::move(schedule), options.reach, options.buffers);
  if (!options.buffers) return program;
  const BufferCounts& buffers = program.buffers();
  const BufferCounts needed =
      own_buffers_of(program.schedule(), program.placement(), program.slots());
  check_enough("slots", buffers.slots, needed.slots);
  check_enough("received inputs", buffers.received, needed.received);
  check_enough("received gradients", buffers.received_gradients, needed.received_gradients);
  check_enough("gradient slots", buffers.gradient_slots, needed.gradient_slots);
  replay(program.schedule(), program.dependencies(), [](auto&&...) {});
  return program;
}

}  // namespace stagecoach
