#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/generators/table.h"

namespace stagecoach {

// One micro-batch at a time. Three stages, two micro-batches; F takes a column, BW two:
//
//   rank 0  F0 .  .  .  .  .  .  BW0-- F1 .  .  .  .  .  .  BW1--
//   rank 1  .  F0 .  .  .  BW0-- .  .  .  F1 .  .  .  BW1-- .  .
//   rank 2  .  .  F0 BW0-- .  .  .  .  .  .  F1 BW1-- .  .  .  .
Schedule naive_schedule(int ranks, int micro_batches) {
  Schedule schedule = empty_table(Generator::kNaive, "naive", ranks, micro_batches);
  for (int rank = 0; rank < ranks; ++rank) {
    for (int m = 0; m < micro_batches; ++m) {
      schedule.ranks[rank].push_back({ActionKind::kForward, rank, m});
      schedule.ranks[rank].push_back({ActionKind::kBackward, rank, m});
    }
  }
  return schedule;
}

}  // namespace stagecoach
