// Activity: what a rank is doing, as a number, for those who watch over it from other processes.
#pragma once

#include <cstdint>
#include <string>

#include "pipeline/schedule/action.h"

namespace stagecoach {

// `step`: from 0. Numbers that do not fit wrap around: steps at 2^26, stages and micro-batches at
// 2^16.
std::uint64_t activity_of(std::int64_t step, const Action& action);
// "step 3, stage 1, F of micro-batch 4"; of 0: "before its first step".
std::string describe_activity(std::uint64_t activity);

}  // namespace stagecoach
