#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/generators/table.h"

namespace stagecoach {

// All forwards, then all backwards (Huang et al. 2019, arXiv:1811.06965). Three stages, three
// micro-batches; F takes a column, BW two:
//
//   rank 0  F0 F1 F2 .  .  .  .  .  .  BW0-- BW1-- BW2--
//   rank 1  .  F0 F1 F2 .  .  .  BW0-- BW1-- BW2-- .  .
//   rank 2  .  .  F0 F1 F2 BW0-- BW1-- BW2-- .  .  .  .
Schedule gpipe_schedule(int ranks, int micro_batches) {
  Schedule schedule = empty_table(Generator::kGPipe, "gpipe", ranks, micro_batches);
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<Action>& actions = schedule.ranks[rank];
    for (int m = 0; m < micro_batches; ++m) actions.push_back({ActionKind::kForward, rank, m});
    for (int m = 0; m < micro_batches; ++m) actions.push_back({ActionKind::kBackward, rank, m});
  }
  return schedule;
}

}  // namespace stagecoach
