#include <algorithm>

#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/generators/table.h"

namespace stagecoach {

// PipeDream-Flush (Narayanan et al. 2021, arXiv:2006.09503): a rank runs as many forwards ahead as
// there are stages from its own to the last one, then one backward and one forward in turn, so it
// never holds more than K - s micro-batches. Three stages, four micro-batches; F takes a column, BW
// two:
//
//   rank 0  F0 F1 F2 .  .  .  .  BW0-- F3 BW1-- .  BW2-- .  BW3--
//   rank 1  .  F0 F1 .  .  BW0-- F2 BW1-- F3 BW2-- .  BW3-- .  .
//   rank 2  .  .  F0 BW0-- F1 BW1-- F2 BW2-- F3 BW3-- .  .  .  .
Schedule one_f_one_b_schedule(int ranks, int micro_batches) {
  Schedule schedule = empty_table(Generator::kOneFOneB, "1f1b", ranks, micro_batches);
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<Action>& actions = schedule.ranks[rank];
    const int ahead = std::min(ranks - rank, micro_batches);
    for (int m = 0; m < ahead; ++m) actions.push_back({ActionKind::kForward, rank, m});
    for (int m = 0; m < micro_batches; ++m) {
      actions.push_back({ActionKind::kBackward, rank, m});
      const int next = m + ahead;
      if (next < micro_batches) actions.push_back({ActionKind::kForward, rank, next});
    }
  }
  return schedule;
}

}  // namespace stagecoach
