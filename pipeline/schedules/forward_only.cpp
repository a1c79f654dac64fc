#include "pipeline/schedules/table.h"

namespace stagecoach {

// Evaluation. Three stages, four micro-batches:
//
//   stage 0  F0 F1 F2 F3 .  .
//   stage 1  .  F0 F1 F2 F3 .
//   stage 2  .  .  F0 F1 F2 F3
Schedule forward_only_schedule(int stages, int micro_batches) {
  Schedule schedule = empty_table("forward-only", stages, micro_batches);
  for (int stage = 0; stage < stages; ++stage) {
    for (int micro = 0; micro < micro_batches; ++micro) append_forward(schedule, stage, micro);
  }
  return schedule;
}

}  // namespace stagecoach
