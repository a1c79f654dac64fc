// Profile: what each layer costs on this machine, measured.
#pragma once

#include <functional>

#include "layers/network.h"
#include "pipeline/schedule/partition.h"

namespace stagecoach {

// Seconds that F, B and W of one micro-batch take together, for each layer: the fastest of a few
// runs after a warm-up, each layer as a stage of its own on `target`. `plans`: of all layers, for
// one micro-batch. `done`, when given, is called with the number of layers that
// are measured. Throws Error when a layer alone does not fit into memory.
LayerCosts measure_layers(const Network& network, const std::vector<LayerPlan>& plans,
                          const Target& target, const std::function<void(int)>& done = {});

}  // namespace stagecoach
