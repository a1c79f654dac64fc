#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/generators/table.h"

namespace stagecoach {

// Two stages on each rank, down the ranks and up again, so that the last stage is on the first rank
// and its B comes early; W fill what waits remain (Qi et al. 2024, arXiv:2405.15362). When F, B and
// W take the same time, no rank waits from its first action to its last, and each holds what two
// stages save for K micro-batches: as much as 1F1B's first rank. Two ranks (F, B, W down and f, b,
// w up), four micro-batches, a column each:
//
//   rank 0  F0 F1 F2 f0 b0 w0 f1 b1 w1 F3 B0 W0 f2 b2 w2 B1 W1 f3 b3 w3 B2 W2 B3 W3 .
//   rank 1  .  F0 f0 F1 f1 b0 w0 F2 B0 W0 f2 b1 w1 F3 B1 W1 f3 b2 w2 B2 b3 B3 W2 w3 W3
//
// Written as for at least K micro-batches; with fewer, the others are left out.
Schedule zb_v_schedule(int ranks, int micro_batches) {
  Schedule schedule = empty_table(Generator::kZbV, "zb-v", ranks, micro_batches, 2);
  for (int rank = 0; rank < ranks; ++rank) {
    RankWriter row(schedule.ranks[rank], micro_batches);
    const int down = rank, up = 2 * ranks - 1 - rank, to_last = ranks - rank;
    for (int i = 0; i < 2 * to_last - 1; ++i) row.forward(down);
    for (int i = 0; i < rank; ++i) row.forward(up), row.forward(down);
    for (int i = 0; i < to_last; ++i) {
      row.forward(up), row.backward_input(up), row.backward_weight(up);
    }
    for (int i = ranks; i < micro_batches; ++i) {
      row.forward(down), row.backward_input(down), row.backward_weight(down);
      row.forward(up), row.backward_input(up), row.backward_weight(up);
    }
    for (int i = 0; i < rank; ++i) row.backward_input(down), row.backward_input(up);
    for (int i = 0; i < to_last; ++i) row.backward_input(down), row.backward_weight(down);
    for (int i = 0; i < rank; ++i) row.backward_weight(up);
    for (int i = 0; i < rank; ++i) row.backward_weight(down);
  }
  return schedule;
}

}  // namespace stagecoach
