#include <algorithm>

#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/generators/table.h"

namespace stagecoach {

// 1F1B whose W fill the bubble at the end (Qi et al. 2023, arXiv:2401.10241): the stage before
// waits for B alone, and rank s has its W s micro-batches later. So every rank holds K
// micro-batches, as many as 1F1B's first one. Three stages, four micro-batches, a column each:
//
//   rank 0  F0 F1 F2 .  .  B0 W0 F3 B1 W1 B2 W2 B3 W3
//   rank 1  .  F0 F1 .  B0 F2 B1 W0 F3 B2 W1 B3 W2 W3
//   rank 2  .  .  F0 B0 F1 B1 F2 B2 W0 F3 B3 W1 W2 W3
Schedule zb_h1_schedule(int ranks, int micro_batches) {
  Schedule schedule = empty_table(Generator::kZbH1, "zb-h1", ranks, micro_batches);
  for (int rank = 0; rank < ranks; ++rank) {
    RankWriter row(schedule.ranks[rank], micro_batches);
    const int ahead = std::min(ranks - rank, micro_batches);
    const int late = std::min(rank, micro_batches);
    for (int m = 0; m < ahead; ++m) row.forward(rank);
    for (int m = 0; m < micro_batches; ++m) {
      row.backward_input(rank);
      if (m >= late) row.backward_weight(rank);
      row.forward(rank);  // none once all have been
    }
    for (int m = 0; m < late; ++m) row.backward_weight(rank);
  }
  return schedule;
}

}  // namespace stagecoach
