// MicroBatchOrder: the order in which the layers of a stage compute one micro-batch. Lifetimes are
// counted in it.
#pragma once

#include <vector>

#include "pipeline/memory_plan.h"

namespace stagecoach {

// Of the segments from the last to the first: F of all layers, B of all from the last, W likewise.
// (With several segments there was an F of all before, which needs no more of a slot than the
// second one.)
struct MicroBatchOrder {
  MicroBatchOrder(const StageGraph& graph, const StageMemory& stage);

  // When both B and W have run.
  int backward_end(int layer) const { return has_weights[layer] ? weight[layer] : backward[layer]; }

  std::vector<int> segments;                   // the first layer of each
  std::vector<int> segment_of;                 // by layer
  std::vector<int> forward, backward, weight;  // by layer: when they run
  std::vector<bool> has_weights;               // by layer
};

}  // namespace stagecoach
