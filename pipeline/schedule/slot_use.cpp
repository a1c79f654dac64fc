#include "pipeline/schedule/slot_use.h"

#include <algorithm>

namespace stagecoach {

SlotUse::SlotUse(const Schedule& schedule)
    : micro_batches_(static_cast<std::size_t>(schedule.micro_batches)),
      trains_(is_training(schedule)) {
  for (const auto& actions : schedule.ranks) {
    for (const Action& action : actions) {
      if (action.kind != ActionKind::kRecompute) continue;
      const bool in_range = action.stage >= 0 && action.stage < schedule.stages &&
                            action.micro_batch >= 0 && action.micro_batch < schedule.micro_batches;
      if (!in_range) continue;
      recomputed_.resize(static_cast<std::size_t>(schedule.stages) * micro_batches_);
      recomputed_[index(action.stage, action.micro_batch)] = true;
    }
  }
}

int SlotUse::recomputed(int stage) const {
  if (recomputed_.empty()) return 0;
  const auto first = recomputed_.begin() + static_cast<std::ptrdiff_t>(index(stage, 0));
  const auto count = std::count(first, first + static_cast<std::ptrdiff_t>(micro_batches_), true);
  return static_cast<int>(count);
}

}  // namespace stagecoach
