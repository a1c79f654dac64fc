#include "pipeline/schedule.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"

namespace stagecoach {
namespace {

struct NamedGenerator {
  const char* name;
  Schedule (*generate)(int stages, int micro_batches);
};

constexpr NamedGenerator kGenerators[] = {
    {"naive", naive_schedule}, {"gpipe", gpipe_schedule}, {"1f1b", one_f_one_b_schedule}};

template <typename Predicate>
bool any_action(const Schedule& schedule, Predicate predicate) {
  return std::ranges::any_of(schedule.ranks, [&](const std::vector<Action>& actions) {
    return std::ranges::any_of(actions, predicate);
  });
}

// Per stage, the most micro-batches whose `start` has begun and whose W has not ended.
std::vector<int> alive_at_most(const Schedule& schedule, ActionKind start) {
  std::vector<int> slots(static_cast<std::size_t>(std::max(schedule.stages, 0)), 1);
  if (!is_training(schedule)) return slots;
  // W(m) come in ascending order, so after n of them the micro-batches 0 .. n - 1 are free, and
  // m does not meet an older one in slot m % slots when slots > m - n.
  std::vector<int> released(slots.size(), 0);
  for (const auto& actions : schedule.ranks) {
    for (const Action& action : actions) {
      if (action.stage < 0 || action.stage >= schedule.stages) continue;
      int& freed = released[action.stage];
      int& needed = slots[action.stage];
      if (action.kind == ActionKind::kBackwardWeight) ++freed;
      if (action.kind == start) needed = std::max(needed, action.micro_batch - freed + 1);
    }
  }
  return slots;
}

}  // namespace

std::string_view name_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
      return "F";
    case ActionKind::kBackwardInput:
      return "B";
    case ActionKind::kBackwardWeight:
      return "W";
    case ActionKind::kSendActivation:
      return "SEND_F";
    case ActionKind::kReceiveActivation:
      return "RECV_F";
    case ActionKind::kSendGradient:
      return "SEND_B";
    case ActionKind::kReceiveGradient:
      return "RECV_B";
  }
  return "?";
}

std::string Action::to_string() const {
  return fmt::format("{}{}{}", stage, name_of(kind), micro_batch);
}

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
    return action.kind == ActionKind::kBackwardInput || action.kind == ActionKind::kBackwardWeight;
  });
}

bool has_communication(const Schedule& schedule) {
  return any_action(schedule,
                    [](const Action& action) { return action.kind > ActionKind::kBackwardWeight; });
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
  for (std::vector<Action>& actions : result.ranks) {
    std::erase_if(actions, [](const Action& a) { return a.kind != ActionKind::kForward; });
  }
  return result;
}

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const NamedGenerator& generator : kGenerators) names.emplace_back(generator.name);
  return names;
}

Schedule make_schedule(std::string_view name, int stages, int micro_batches) {
  for (const NamedGenerator& generator : kGenerators) {
    if (name == generator.name) return generator.generate(stages, micro_batches);
  }
  throw UsageError("schedule", fmt::format("one of {}", fmt::join(schedule_names(), ", ")),
                   fmt::format("'{}'", name));
}

Schedule with_communication(const Schedule& compute) {
  if (has_communication(compute)) return compute;
  const std::vector<int> rank_of = ranks_of_stages(compute);
  Schedule result = compute;
  for (std::size_t rank = 0; rank < compute.ranks.size(); ++rank) {
    const auto elsewhere = [&](int stage) {
      return stage >= 0 && stage < compute.stages && rank_of[stage] != static_cast<int>(rank);
    };
    std::vector<Action>& actions = result.ranks[rank];
    actions.clear();
    for (const Action& action : compute.ranks[rank]) {
      const auto append_if = [&](bool condition, ActionKind kind) {
        if (condition) actions.push_back({kind, action.stage, action.micro_batch});
      };
      const bool forward = action.kind == ActionKind::kForward;
      const bool backward = action.kind == ActionKind::kBackwardInput;
      append_if(forward && elsewhere(action.stage - 1), ActionKind::kReceiveActivation);
      append_if(backward && elsewhere(action.stage + 1), ActionKind::kReceiveGradient);
      actions.push_back(action);
      append_if(forward && elsewhere(action.stage + 1), ActionKind::kSendActivation);
      // Before the W that follows: the stage above waits for it.
      append_if(backward && elsewhere(action.stage - 1), ActionKind::kSendGradient);
    }
  }
  return result;
}

std::vector<int> slots_of(const Schedule& schedule) {
  return alive_at_most(schedule, ActionKind::kForward);
}

std::vector<int> gradient_slots_of(const Schedule& schedule) {
  return alive_at_most(schedule, ActionKind::kBackwardInput);
}

}  // namespace stagecoach
