#include "pipeline/schedules/table.h"

namespace stagecoach {

// One micro-batch at a time. Three stages, two micro-batches, F = B = W = one column:
//
//   stage 0  F0 .  .  .  .  B0 W0 F1 .  .  .  .  B1 W1
//   stage 1  .  F0 .  .  B0 W0 .  .  F1 .  .  B1 W1 .
//   stage 2  .  .  F0 B0 W0 .  .  .  .  F1 B1 W1 .  .
Schedule naive_schedule(int stages, int micro_batches) {
  Schedule schedule = empty_table("naive", stages, micro_batches);
  for (int stage = 0; stage < stages; ++stage) {
    for (int micro = 0; micro < micro_batches; ++micro) {
      append_forward(schedule, stage, micro);
      append_backward(schedule, stage, micro);
    }
  }
  return schedule;
}

}  // namespace stagecoach
