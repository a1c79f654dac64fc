#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/generators/table.h"

namespace stagecoach {

// Evaluation. Three stages, four micro-batches:
//
//   rank 0  F0 F1 F2 F3 .  .
//   rank 1  .  F0 F1 F2 F3 .
//   rank 2  .  .  F0 F1 F2 F3
Schedule forward_only_schedule(int ranks, int micro_batches) {
  Schedule schedule = empty_table(Generator::kForwardOnly, "forward-only", ranks, micro_batches);
  for (int rank = 0; rank < ranks; ++rank) {
    for (int m = 0; m < micro_batches; ++m) {
      schedule.ranks[rank].push_back({ActionKind::kForward, rank, m});
    }
  }
  return schedule;
}

}  // namespace stagecoach
