// Plans where B writes: gradients of values, and parts of them.
#pragma once

#include "pipeline/memory_plan/order.h"

namespace stagecoach {

// Fills in gradient and part of `plan`, with the regions that they lie in. After plan_values().
void plan_gradients(const StageGraph& graph, const StageMemory& stage, const MicroBatchOrder& order,
                    MemoryPlan& plan);

}  // namespace stagecoach
