// What the generators of schedules share.
#pragma once

#include "pipeline/schedule.h"

namespace stagecoach {

// A schedule of `ranks` empty ranks with `chunks` stages on each. Throws Error unless all three are
// at least 1.
Schedule empty_table(std::string name, int ranks, int micro_batches, int chunks = 1);

}  // namespace stagecoach
