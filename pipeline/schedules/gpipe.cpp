#include "pipeline/schedules/table.h"

namespace stagecoach {

// All forwards, then all backwards (Huang et al. 2019, arXiv:1811.06965). Three stages, three
// micro-batches, F = B = W = one column:
//
//   stage 0  F0 F1 F2 .  .  .  .  B0 W0 B1 W1 B2 W2
//   stage 1  .  F0 F1 F2 .  .  B0 W0 B1 W1 B2 W2 .
//   stage 2  .  .  F0 F1 F2 B0 W0 B1 W1 B2 W2 .  .
Schedule gpipe_schedule(int stages, int micro_batches) {
  Schedule schedule = empty_table("gpipe", stages, micro_batches);
  for (int stage = 0; stage < stages; ++stage) {
    for (int micro = 0; micro < micro_batches; ++micro) append_forward(schedule, stage, micro);
    for (int micro = 0; micro < micro_batches; ++micro) append_backward(schedule, stage, micro);
  }
  return schedule;
}

}  // namespace stagecoach
