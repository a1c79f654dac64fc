#include "pipeline/schedule/program.h"

#include <utility>
#include <vector>

namespace stagecoach {

namespace {

std::vector<std::vector<int>> stages_by_rank(const Schedule& schedule, const Placement& placement) {
  std::vector<std::vector<int>> stages(schedule.ranks.size());
  for (int stage = 0; stage < schedule.stages; ++stage) {
    for (const int rank : placement.ranks_of(stage)) {
      if (rank >= 0) stages[rank].push_back(stage);
    }
  }
  return stages;
}

bool weights_in_order(const Schedule& schedule, const Placement& placement) {
  const auto groups = static_cast<std::size_t>(placement.groups());
  const int size = placement.group_size();
  std::vector<int> next(static_cast<std::size_t>(schedule.stages) * groups, 0);
  for (const std::vector<Action>& actions : schedule.ranks) {
    for (const Action& action : actions) {
      const bool weight =
          action.kind == ActionKind::kBackwardWeight || action.kind == ActionKind::kBackward;
      if (!weight || action.stage < 0 || action.stage >= schedule.stages) continue;
      const std::size_t group = static_cast<std::size_t>(action.micro_batch) / size;
      if (group >= groups) return false;
      if (action.micro_batch % size != next[action.stage * groups + group]++) return false;
    }
  }
  return true;
}

}  // namespace

struct Program::State {
  State(Schedule table, Reach of, std::optional<BufferCounts> given)
      : schedule(std::move(table)),
        reach(std::move(of)),
        slots(schedule),
        data(schedule, reach),
        stages_of(stages_by_rank(schedule, data.placement())),
        buffers(given ? *std::move(given) : buffer_counts_of(schedule, data, slots)),
        all(schedule, reach, buffers),
        sums_in_order(weights_in_order(schedule, data.placement())) {}

  const Schedule schedule;
  const Reach reach;
  const SlotUse slots;
  const Dependencies data;
  const std::vector<std::vector<int>> stages_of;
  const BufferCounts buffers;
  const Dependencies all;
  const bool sums_in_order;
};

Program::Program(Schedule schedule, Reach reach, std::optional<BufferCounts> buffers)
    : state_(std::make_shared<State>(std::move(schedule), std::move(reach), std::move(buffers))) {}

const Schedule& Program::schedule() const {
  return state_->schedule;
}

std::span<const Action> Program::actions(int rank) const {
  return state_->schedule.ranks[static_cast<std::size_t>(rank)];
}
std::span<const int> Program::stages_of(int rank) const {
  return state_->stages_of[static_cast<std::size_t>(rank)];
}

bool Program::trains() const {
  return state_->slots.trains();
}
bool Program::communicates() const {
  return state_->data.communicates();
}
bool Program::sums_in_order() const {
  return state_->sums_in_order;
}
const BufferCounts& Program::buffers() const {
  return state_->buffers;
}
const SlotUse& Program::slots() const {
  return state_->slots;
}
const Reach& Program::reach() const {
  return state_->reach;
}
const Dependencies& Program::dependencies() const {
  return state_->all;
}
const Dependencies& Program::data_dependencies() const {
  return state_->data;
}

}  // namespace stagecoach
