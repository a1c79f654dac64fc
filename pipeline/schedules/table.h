// What the generators of schedules share.
#pragma once

#include "pipeline/schedule.h"

namespace stagecoach {

// A schedule of one empty rank per stage. Throws Error unless stages >= 1 and micro_batches >= 1.
Schedule empty_table(std::string name, int stages, int micro_batches);

// F; and B with its W at once: the W frees the slot.
void append_forward(Schedule& schedule, int stage, int micro_batch);
void append_backward(Schedule& schedule, int stage, int micro_batch);

}  // namespace stagecoach
