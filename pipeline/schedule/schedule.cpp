#include "pipeline/schedule/schedule.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "core/error.h"

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
  explicit Communication(const Schedule& compute)
      : compute_(compute), rank_of_(ranks_of_stages(compute)) {
    for (auto* of_kind : {&sent_activations_, &sent_gradients_}) {
      of_kind->resize(rank_of_.size());
    }
    posted_.resize(rank_of_.size());
    for (const auto& actions : compute.ranks) {
      for (const Action& action : actions) note_sends(action);
    }
  }

  std::vector<Action> rank(const std::vector<Action>& actions) {
    std::vector<Action> result;
    for (const Action& action : actions) {
      const bool forward = action.kind == kForward, backward = has_input_gradient(action.kind);
      if (forward && apart(action.stage - 1)) {
        post(result, action, kReceiveActivation, sent_activations_[action.stage - 1]);
      }
      if (backward && apart(action.stage)) {
        post(result, action, kReceiveGradient, sent_gradients_[action.stage + 1]);
      }
      result.push_back(action);
      // A gradient leaves before the W that may follow its B: the stage before waits for it.
      if (forward && apart(action.stage)) {
        result.push_back({kSendActivation, action.stage, action.micro_batch});
      }
      if (backward && apart(action.stage - 1)) {
        result.push_back({kSendGradient, action.stage, action.micro_batch});
      }
    }
    return result;
  }

 private:
  // Whether the stage and the one after it are on two ranks.
  bool apart(int stage) const {
    return stage >= 0 && stage + 1 < compute_.stages && rank_of_[stage] != rank_of_[stage + 1];
  }

  void note_sends(const Action& action) {
    if (action.stage < 0 || action.stage >= compute_.stages) return;
    if (action.kind == kForward) sent_activations_[action.stage].push_back(action.micro_batch);
    if (has_input_gradient(action.kind)) {
      sent_gradients_[action.stage].push_back(action.micro_batch);
    }
  }

  // The receives that come before that of `reader` in the order of `sent`, and its own, unless they
  // are there already.
  void post(std::vector<Action>& result, const Action& reader, ActionKind kind,
            const std::vector<int>& sent) {
    std::size_t& next = posted_[reader.stage][kind == kReceiveGradient];
    const auto own =
        std::find(sent.begin() + static_cast<std::ptrdiff_t>(next), sent.end(), reader.micro_batch);
    if (own == sent.end()) return;
    for (const auto end = static_cast<std::size_t>(own - sent.begin()) + 1; next < end; ++next) {
      result.push_back({kind, reader.stage, sent[next]});
    }
  }

  const Schedule& compute_;
  std::vector<int> rank_of_;
  std::vector<std::vector<int>> sent_activations_, sent_gradients_;  // by stage: micro-batches
  std::vector<std::array<std::size_t, 2>> posted_;  // by stage: receives of activations, gradients
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

int Schedule::rank_of(int stage) const {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    for (const Action& action : ranks[rank]) {
      if (action.stage == stage) return static_cast<int>(rank);
    }
  }
  throw Error("rank_of", fmt::format("a stage that a rank of schedule '{}' runs", name),
              fmt::format("stage {}", stage));
}

bool is_training(const Schedule& schedule) {
  return any_action(schedule, [](const Action& action) {
    return has_input_gradient(action.kind) || action.kind == kBackwardWeight;
  });
}

bool has_communication(const Schedule& schedule) {
  return any_action(schedule, [](const Action& action) { return is_communication(action.kind); });
}

std::vector<int> ranks_of_stages(const Schedule& schedule) {
  std::vector<int> ranks(static_cast<std::size_t>(std::max(schedule.stages, 0)), -1);
  for (std::size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    for (const Action& action : schedule.ranks[rank]) {
      if (action.stage < 0 || action.stage >= schedule.stages) continue;
      if (ranks[action.stage] < 0) ranks[action.stage] = static_cast<int>(rank);
    }
  }
  return ranks;
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
  const std::vector<int> rank_of = ranks_of_stages(schedule);
  for (int stage = 0; stage < schedule.stages; ++stage) {
    if (rank_of[stage] >= 0) result.ranks[rank_of[stage]].push_back({kOptimizerStep, stage, -1});
  }
  return result;
}

Schedule with_recompute(const Schedule& schedule, Recompute mode) {
  STAGECOACH_CHECK(!any_action(schedule, [](const Action& a) { return a.kind == kRecompute; }),
                   "with_recompute", "a table without R", "one that recomputes already");
  if (mode == Recompute::kNever) return schedule;
  const int end = schedule.micro_batches - (mode == Recompute::kExceptLast ? 1 : 0);
  Schedule result = schedule;
  for (std::size_t rank = 0; rank < result.ranks.size(); ++rank) {
    std::vector<Action>& actions = result.ranks[rank];
    actions.clear();
    for (const Action& action : schedule.ranks[rank]) {
      if (has_input_gradient(action.kind) && action.micro_batch < end) {
        actions.push_back({kRecompute, action.stage, action.micro_batch});
      }
      actions.push_back(action);
    }
  }
  return result;
}

}  // namespace stagecoach
