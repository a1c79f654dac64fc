#include "pipeline/schedule/dependencies.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace stagecoach {

using enum ActionKind;

Dependencies::Dependencies(const Schedule& schedule, Reach reach,
                           std::optional<BufferCounts> buffers)
    : stages_(static_cast<std::size_t>(schedule.stages)),
      micro_batches_(static_cast<std::size_t>(schedule.micro_batches)),
      communicates_(has_communication(schedule)),
      trains_(is_training(schedule)),
      rank_of_(ranks_of_stages(schedule)),
      reach_(std::move(reach)),
      buffers_(std::move(buffers)) {}

DependencyList Dependencies::of(const Action& action) const {
  const int stage = action.stage, micro = action.micro_batch;
  const bool has_next = static_cast<std::size_t>(stage) + 1 < stages_;
  DependencyList list;
  if (action.kind == kForward) {
    if (stage > 0) {
      list.set_data({crosses_ranks(stage - 1) ? kSendActivation : kForward, stage - 1, micro});
    }
    const int overwritten = buffers_ && has_next ? micro - buffers_->outputs[stage] : -1;
    // B and W of the stage itself read its output too.
    if (overwritten >= 0) {
      list.set_readers(trains_ ? kBackwardWeight : kForward, trains_ ? stage : stage + 1,
                       reach_.last_reader_of(stage), overwritten);
    }
  } else if (action.kind == kBackwardInput || action.kind == kBackward) {
    if (has_next) {
      list.set_data({crosses_ranks(stage) ? kSendGradient : kBackwardInput, stage + 1, micro});
    }
    const int overwritten = buffers_ && stage > 0 ? micro - buffers_->input_gradients[stage] : -1;
    if (overwritten >= 0) {
      list.set_readers(kBackwardWeight, reach_.first_reader_of(stage), stage - 1, overwritten);
    }
  }
  return list;
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
    throw Error(
        "check",
        fmt::format("{} before {} on rank {}", waits_for[first].to_string(),
                    waiting(first).to_string(), first),
        fmt::format("{}{} at position {} and {} after it", line_of(schedule, first),
                    waiting(first).to_string(), position[first], waits_for[first].to_string()),
        reason);
  }
  std::string path, reasons;
  int other = first;
  do {
    path += fmt::format("{}{}rank {} waits at {} (position {}) for {}", path.empty() ? "" : "; ",
                        line_of(schedule, other), other, waiting(other).to_string(),
                        position[other], waits_for[other].to_string());
    const std::string why = dependencies.reason(waiting(other), waits_for[other]);
    if (!why.empty()) path += fmt::format(" ({})", why);
    other = owner(other);
  } while (other != first);
  throw Error("check", "an order in which every rank can go on", "a deadlock: " + path);
}

}  // namespace stagecoach
