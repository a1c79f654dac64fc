// Plans where F writes: values and saved tensors.
#pragma once

#include "pipeline/memory_plan/order.h"

namespace stagecoach {

// Fills in value, second and saved of `plan`, with the regions that they lie in.
void plan_values(const StageGraph& graph, const StageMemory& stage, const MicroBatchOrder& order,
                 MemoryPlan& plan);

}  // namespace stagecoach
