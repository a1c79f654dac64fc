// Fusion: a table of patterns that rewrites a planned network.
#pragma once

#include <vector>

#include "layers/layer.h"

namespace stagecoach {

// Where a value is made: an output of a layer, or the network's input (layer -1).
struct ValueId {
  int layer = -1, output = 0;
  auto operator<=>(const ValueId&) const = default;
};

// `plans` of all layers in execution order, `inputs` of each. Two layers are fused where the first
// one's output has no other reader than the second, and the table has their kinds:
//   conv2d, relu; linear, relu    F of the first is that of both
//   relu, max_pool2d              B of the second is that of both; the ReLU keeps no output for it
// The work of a layer that is done by another becomes a copy.
void fuse(std::vector<LayerPlan>& plans, const std::vector<std::vector<ValueId>>& inputs);

}  // namespace stagecoach
