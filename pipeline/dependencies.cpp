#include "pipeline/dependencies.h"

#include <algorithm>

#include "core/error.h"

namespace stagecoach {

using enum ActionKind;

Dependencies::Dependencies(const Schedule& schedule, const BufferCounts& buffers)
    : stages_(static_cast<std::size_t>(schedule.stages)),
      micro_batches_(static_cast<std::size_t>(schedule.micro_batches)),
      kinds_(has_communication(schedule) ? 7 : 3),
      trains_(is_training(schedule)),
      rank_of_(ranks_of_stages(schedule)),
      buffers_(buffers) {}

DependencyList Dependencies::of(const Action& action) const {
  const int stage = action.stage, micro = action.micro_batch;
  const bool has_next = static_cast<std::size_t>(stage) + 1 < stages_;
  DependencyList list;
  switch (action.kind) {
    case kForward: {
      if (stage > 0 && crosses_ranks(stage - 1)) {
        list.add(kReceiveActivation, stage, micro);
      } else if (stage > 0) {
        list.add(kForward, stage - 1, micro);
      }
      const int overwritten = micro - buffers_.slots[stage];
      if (overwritten >= 0 && trains_) list.add(kBackwardWeight, stage, overwritten);
      if (overwritten >= 0 && has_next) {
        list.add(trains_ ? kBackwardWeight : kForward, stage + 1, overwritten);
      }
      break;
    }
    case kBackwardInput: {
      list.add(kForward, stage, micro);
      if (has_next && crosses_ranks(stage)) {
        list.add(kReceiveGradient, stage, micro);
      } else if (has_next) {
        list.add(kBackwardInput, stage + 1, micro);
      }
      const int overwritten = micro - buffers_.gradient_buffers[stage];
      if (overwritten >= 0 && stage > 0) list.add(kBackwardWeight, stage - 1, overwritten);
      break;
    }
    case kBackwardWeight:
      list.add(kBackwardInput, stage, micro);
      break;
    case kSendActivation:
      list.add(kForward, stage, micro);
      break;
    case kReceiveActivation:
      list.add(kSendActivation, stage - 1, micro);
      break;
    case kSendGradient:
      list.add(kBackwardInput, stage, micro);
      break;
    case kReceiveGradient:
      list.add(kSendGradient, stage + 1, micro);
      break;
  }
  return list;
}

std::string Dependencies::reason(const Action& action, const Action& dependency) const {
  if (action.micro_batch == dependency.micro_batch) return "";
  const bool forward = action.kind == kForward;
  const int count =
      forward ? buffers_.slots[action.stage] : buffers_.gradient_buffers[action.stage];
  return fmt::format("stage {} has {} {}{}, and micro-batch {} is still in the one to write",
                     action.stage, count, forward ? "slot" : "gradient buffer",
                     count == 1 ? "" : "s", dependency.micro_batch);
}

void throw_deadlock(const Schedule& schedule, const Dependencies& dependencies,
                    const std::vector<std::size_t>& position,
                    const std::vector<Action>& waits_for) {
  const auto stuck = [&](int rank) { return position[rank] < schedule.ranks[rank].size(); };
  const auto owner = [&](int rank) { return dependencies.rank_of(waits_for[rank].stage); };
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
    throw Error("check",
                fmt::format("{} before {} on rank {}", waits_for[first].to_string(),
                            waiting(first).to_string(), first),
                fmt::format("{} at position {} and {} after it", waiting(first).to_string(),
                            position[first], waits_for[first].to_string()),
                reason);
  }
  std::string path, reasons;
  int other = first;
  do {
    path +=
        fmt::format("{}rank {} waits at {} (position {}) for {}", path.empty() ? "" : "; ", other,
                    waiting(other).to_string(), position[other], waits_for[other].to_string());
    const std::string why = dependencies.reason(waiting(other), waits_for[other]);
    if (!why.empty()) path += fmt::format(" ({})", why);
    other = owner(other);
  } while (other != first);
  throw Error("check", "an order in which every rank can go on", "a deadlock: " + path);
}

}  // namespace stagecoach
