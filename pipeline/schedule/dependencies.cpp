#include "pipeline/schedule/dependencies.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace stagecoach {

using enum ActionKind;

namespace {

bool has_reduce(const std::vector<Action>& actions) {
  return std::ranges::find(actions, kReduceGradient, &Action::kind) != actions.end();
}

}  // namespace

Dependencies::Dependencies(const Schedule& schedule, Reach reach,
                           std::optional<BufferCounts> buffers)
    : stages_(static_cast<std::size_t>(schedule.stages)),
      micro_batches_(static_cast<std::size_t>(schedule.micro_batches)),
      communicates_(has_communication(schedule)),
      trains_(is_training(schedule)),
      reduces_(std::ranges::any_of(schedule.ranks, has_reduce)),
      placement_(schedule),
      reach_(std::move(reach)),
      buffers_(std::move(buffers)) {}

DependencyList Dependencies::of(const Action& action) const {
  const int stage = action.stage, micro = action.micro_batch;
  const bool has_next = static_cast<std::size_t>(stage) + 1 < stages_;
  DependencyList list;
  if (action.kind == kForward) {
    if (stage > 0) {
      list.set_data(
          {crosses_ranks(stage - 1, micro) ? kSendActivation : kForward, stage - 1, micro});
    }
    const int before =
        buffers_ && has_next ? overwritten(stage, micro, buffers_->outputs[stage]) : -1;
    // B and W of the stage itself read its output too.
    if (before >= 0) {
      list.set_readers(trains_ ? kBackwardWeight : kForward, trains_ ? stage : stage + 1,
                       reach_.last_reader_of(stage), before);
    }
  } else if (action.kind == kBackwardInput || action.kind == kBackward) {
    if (has_next) {
      list.set_data(
          {crosses_ranks(stage, micro) ? kSendGradient : kBackwardInput, stage + 1, micro});
    }
    const int before =
        buffers_ && stage > 0 ? overwritten(stage, micro, buffers_->input_gradients[stage]) : -1;
    if (before >= 0) {
      list.set_readers(kBackwardWeight, reach_.first_reader_of(stage), stage - 1, before);
    }
  } else if (adds_replicas(action)) {
    list.set_replicas(stage, placement_.replicas(stage), placement_.block(stage));
  }
  return list;
}

int Dependencies::overwritten(int stage, int micro_batch, int count) const {
  const int number = placement_.number_of(stage, micro_batch) - count;
  if (number < 0) return -1;
  return placement_.micro_batch_of(stage, placement_.block_begin(stage, micro_batch), number);
}

std::size_t Dependencies::arrival(int rank, int stage) const {
  const std::span<const int> ranks = placement_.ranks_of(stage);
  const auto replica = static_cast<int>(std::ranges::find(ranks, rank) - ranks.begin());
  return index(kReduceGradient, stage, replica * placement_.block(stage));
}

Completed Dependencies::completed_by(const Action& action) const {
  Completed list;
  switch (action.kind) {
    case kBackward:
      list.add(index(kBackwardInput, action.stage, action.micro_batch));
      list.add(index(kBackwardWeight, action.stage, action.micro_batch));
      break;
    case kForward:
    case kBackwardInput:
    case kBackwardWeight:
    case kSendActivation:
    case kSendGradient:
      list.add(index(action));
      break;
    default:
      break;
  }
  return list;
}

std::string Dependencies::reason(const Action& action, const Action& dependency) const {
  if (is_per_stage(action.kind)) return "all replicas of a stage add their gradients at once";
  if (action.micro_batch == dependency.micro_batch || !buffers_) return "";
  const bool forward = action.kind == kForward;
  const int count =
      forward ? buffers_->outputs[action.stage] : buffers_->input_gradients[action.stage];
  return fmt::format("stage {} has {} {} buffer{}, and micro-batch {} is still in the one to write",
                     action.stage, count, forward ? "output" : "input gradient",
                     count == 1 ? "" : "s", dependency.micro_batch);
}

namespace {

std::string line_of(const Schedule& schedule, int rank) {
  return schedule.lines.empty() ? "" : fmt::format("line {}, ", schedule.lines.at(rank));
}

}  // namespace

void throw_deadlock(const Schedule& schedule, const Dependencies& dependencies,
                    const std::vector<std::size_t>& position,
                    const std::vector<Action>& waits_for) {
  const auto stuck = [&](int rank) { return position[rank] < schedule.ranks[rank].size(); };
  const auto owner = [&](int rank) { return dependencies.rank_of(waits_for[rank]); };
  // Whoever a stuck rank waits for is stuck too, so the way from any of them ends in a cycle.
  int rank = 0;
  while (!stuck(rank)) ++rank;
  std::vector<bool> seen(schedule.ranks.size(), false);
  for (; !seen[rank]; rank = owner(rank)) seen[rank] = true;
  int first = rank;  // of the cycle: its lowest rank
  for (int other = owner(rank); other != rank; other = owner(other)) {
    first = std::min(first, other);
  }

  const auto waiting = [&](int r) { return schedule.ranks[r][position[r]]; };
  const std::string reason = dependencies.reason(waiting(first), waits_for[first]);
  if (owner(first) == first) {
    throw Error(
        "check",
        fmt::format("{} before {} on rank {}", waits_for[first].to_string(),
                    waiting(first).to_string(), first),
        fmt::format("{}{} at position {} and {} after it", line_of(schedule, first),
                    waiting(first).to_string(), position[first], waits_for[first].to_string()),
        reason);
  }
  const auto awaited = [&](int r) {
    if (!is_per_stage(waits_for[r].kind)) return waits_for[r].to_string();
    return fmt::format("that of rank {}", owner(r));
  };
  std::string path;
  int other = first;
  do {
    path += fmt::format("{}{}rank {} waits at {} (position {}) for {}", path.empty() ? "" : "; ",
                        line_of(schedule, other), other, waiting(other).to_string(),
                        position[other], awaited(other));
    const std::string why = dependencies.reason(waiting(other), waits_for[other]);
    if (!why.empty()) path += fmt::format(" ({})", why);
    other = owner(other);
  } while (other != first);
  throw Error("check", "an order in which every rank can go on", "a deadlock: " + path);
}

}  // namespace stagecoach
