#include <algorithm>

#include "pipeline/schedules/table.h"

namespace stagecoach {

// PipeDream-Flush (Narayanan et al. 2021, arXiv:2006.09503): stage s runs as many forwards ahead as
// there are stages from it to the last one, then one backward and one forward in turn, so it never
// holds more than K - s micro-batches. Three stages, four micro-batches, F = B = W = one column:
//
//   stage 0  F0 F1 F2 .  .  B0 W0 F3 B1 W1 .  B2 W2 .  B3 W3
//   stage 1  .  F0 F1 .  B0 W0 F2 B1 W1 F3 B2 W2 .  B3 W3 .
//   stage 2  .  .  F0 B0 W0 F1 B1 W1 F2 B2 W2 F3 B3 W3 .  .
Schedule one_f_one_b_schedule(int stages, int micro_batches) {
  Schedule schedule = empty_table("1f1b", stages, micro_batches);
  for (int stage = 0; stage < stages; ++stage) {
    const int ahead = std::min(stages - stage, micro_batches);
    for (int micro = 0; micro < ahead; ++micro) append_forward(schedule, stage, micro);
    for (int micro = 0; micro < micro_batches; ++micro) {
      append_backward(schedule, stage, micro);
      if (micro + ahead < micro_batches) append_forward(schedule, stage, micro + ahead);
    }
  }
  return schedule;
}

}  // namespace stagecoach
