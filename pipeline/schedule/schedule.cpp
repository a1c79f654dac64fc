#include "pipeline/schedule/schedule.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "pipeline/schedule/placement.h"

namespace stagecoach {
namespace {

using enum ActionKind;

template <typename Predicate>
bool any_action(const Schedule& schedule, Predicate predicate) {
  return std::ranges::any_of(schedule.ranks, [&](const std::vector<Action>& actions) {
    return std::ranges::any_of(actions, predicate);
  });
}

bool has_input_gradient(ActionKind kind) {
  return kind == kBackwardInput || kind == kBackward;
}

// Adds sends and receives to the actions of one rank after another.
class Communication {
 public:
  explicit Communication(const Schedule& compute) : compute_(compute), placement_(compute) {
    for (int upper = 0; upper + 1 < compute.stages; ++upper) {
      messages_.emplace_back(static_cast<std::size_t>(placement_.pairs(upper)));
    }
    for (const auto& actions : compute.ranks) {
      for (const Action& action : actions) note_sends(action);
    }
  }

  std::vector<Action> rank(const std::vector<Action>& actions) {
    std::vector<Action> result;
    for (const Action& action : actions) {
      const bool forward = action.kind == kForward, backward = has_input_gradient(action.kind);
      const int stage = action.stage, micro = action.micro_batch;
      if (forward && apart(stage - 1, micro)) {
        post(result, {kReceiveActivation, stage, micro}, messages_of(stage - 1, micro).activations);
      }
      if (backward && apart(stage, micro)) {
        post(result, {kReceiveGradient, stage, micro}, messages_of(stage, micro).gradients);
      }
      result.push_back(action);
      // A gradient leaves before the W that may follow its B: the stage before waits for it.
      if (forward && apart(stage, micro)) result.push_back({kSendActivation, stage, micro});
      if (backward && apart(stage - 1, micro)) result.push_back({kSendGradient, stage, micro});
    }
    return result;
  }

 private:
  // The micro-batches that one rank sends another, in their order.
  struct Sent {
    std::vector<int> micro_batches;
    std::size_t posted = 0;  // receives
  };
  struct Messages {
    Sent activations, gradients;
  };

  // Whether the stage and the one after it are on two ranks.
  bool apart(int stage, int micro) const {
    return stage >= 0 && stage + 1 < compute_.stages && micro >= 0 &&
           micro < compute_.micro_batches && placement_.apart(stage, micro);
  }
  Messages& messages_of(int upper, int micro) {
    return messages_[upper][placement_.pair_of(upper, micro)];
  }

  void note_sends(const Action& action) {
    const int stage = action.stage, micro = action.micro_batch;
    if (action.kind == kForward && apart(stage, micro)) {
      messages_of(stage, micro).activations.micro_batches.push_back(micro);
    }
    if (has_input_gradient(action.kind) && apart(stage - 1, micro)) {
      messages_of(stage - 1, micro).gradients.micro_batches.push_back(micro);
    }
  }

  // The receives that come before `own` in the order of the sends, and it, unless they are there
  // already.
  static void post(std::vector<Action>& result, const Action& own, Sent& sent) {
    const auto begin = sent.micro_batches.begin() + static_cast<std::ptrdiff_t>(sent.posted);
    const auto found = std::find(begin, sent.micro_batches.end(), own.micro_batch);
    if (found == sent.micro_batches.end()) return;
    for (auto micro = begin; micro <= found; ++micro, ++sent.posted) {
      result.push_back({own.kind, own.stage, *micro});
    }
  }

  const Schedule& compute_;
  const Placement placement_;
  std::vector<std::vector<Messages>> messages_;  // by upper stage and pair of replicas
};

}  // namespace

std::string Schedule::to_text() const {
  std::string text;
  for (const auto& actions : ranks) {
    for (std::size_t i = 0; i < actions.size(); ++i) {
      if (i > 0) text += ' ';
      text += actions[i].to_string();
    }
    text += '\n';
  }
  return text;
}

bool is_training(const Schedule& schedule) {
  return any_action(schedule, [](const Action& action) {
    return has_input_gradient(action.kind) || action.kind == kBackwardWeight;
  });
}

bool has_communication(const Schedule& schedule) {
  return any_action(schedule, [](const Action& action) { return is_communication(action.kind); });
}

Schedule forwards_of(const Schedule& schedule) {
  Schedule result = schedule;
  result.name = "forward-only";
  result.generator = Generator::kNone;
  for (std::vector<Action>& actions : result.ranks) {
    std::erase_if(actions, [](const Action& a) { return a.kind != kForward; });
  }
  return result;
}

Schedule with_communication(const Schedule& compute) {
  if (has_communication(compute)) return compute;
  Communication communication(compute);
  Schedule result = compute;
  for (std::vector<Action>& actions : result.ranks) actions = communication.rank(actions);
  return result;
}

Schedule with_joint_backward(const Schedule& schedule) {
  Schedule result = schedule;
  result.generator = Generator::kNone;
  for (std::vector<Action>& actions : result.ranks) {
    std::erase_if(actions, [](const Action& action) { return action.kind == kBackwardWeight; });
    for (Action& action : actions) {
      if (action.kind == kBackwardInput) action.kind = kBackward;
    }
  }
  return result;
}

Schedule with_optimizer_steps(const Schedule& schedule) {
  const auto is_step = [](const Action& action) { return action.kind == kOptimizerStep; };
  if (!is_training(schedule) || any_action(schedule, is_step)) return schedule;
  Schedule result = schedule;
  const Placement placement(schedule);
  for (int stage = 0; stage < schedule.stages; ++stage) {
    for (const int rank : placement.ranks_of(stage)) {
      if (rank >= 0) result.ranks[rank].push_back({kOptimizerStep, stage, -1});
    }
  }
  return result;
}

Schedule with_recompute(const Schedule& schedule, Recompute mode) {
  STAGECOACH_CHECK(!any_action(schedule, [](const Action& a) { return a.kind == kRecompute; }),
                   "with_recompute", "a table without R", "one that recomputes already");
  if (mode == Recompute::kNever) return schedule;
  const int group = Placement(schedule).group_size();
  const auto runs_again = [&](int micro) {
    return mode == Recompute::kAlways || (micro + 1) % group != 0;
  };
  Schedule result = schedule;
  for (std::size_t rank = 0; rank < result.ranks.size(); ++rank) {
    std::vector<Action>& actions = result.ranks[rank];
    actions.clear();
    for (const Action& action : schedule.ranks[rank]) {
      if (has_input_gradient(action.kind) && runs_again(action.micro_batch)) {
        actions.push_back({kRecompute, action.stage, action.micro_batch});
      }
      actions.push_back(action);
    }
  }
  return result;
}

}  // namespace stagecoach
