// How far the values of a network travel that is cut into stages.
#pragma once

#include <span>
#include <vector>

#include "pipeline/schedule/reach.h"
#include "pipeline/stage_graph.h"

namespace stagecoach {

// Of all stages, in order; empty where all of them exchange values with their neighbours only.
// `copied`: by stage, whether what it and the one before send each other is copied into memory of
// the receiver's. That hands on its copies, and nobody behind it reads the originals.
Reach reach_of(std::span<const StageGraph> stages, const std::vector<bool>& copied);

}  // namespace stagecoach
