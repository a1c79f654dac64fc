// Partition: which layers each stage gets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/schedule/program.h"

namespace stagecoach {

// Contiguous stages: stage s has the layers [first[s], first[s + 1]), the last one up to `layers`.
struct Partition {
  std::vector<int> first;  // first[0] == 0, strictly ascending
  int layers = 0;
  int stages() const { return static_cast<int>(first.size()); }
  int end(int stage) const { return stage + 1 < stages() ? first[stage + 1] : layers; }
};

// What a layer costs: seconds, parameters, or 1.
using LayerCosts = std::vector<double>;

// The cut whose most expensive stage is the cheapest (exact, by dynamic programming); among equals
// the one whose cuts come first. Every stage gets at least one layer. UsageError when stages < 1 or
// more than there are layers.
Partition partition_by_cost(const LayerCosts& costs, std::int64_t stages);

// For a schedule with several stages on a rank: the cut under which the simulated step is the
// shortest, as far as moving one cut at a time leads from partition_by_cost(); F, B and W are taken
// to be a third of a layer's cost each. With one stage on each rank, or a very large schedule, it
// is partition_by_cost().
Partition partition_by_makespan(const LayerCosts& costs, const Program& program);

// `cuts`: the index of each later stage's first layer. UsageError for anything that is not
// stages - 1 ascending numbers in [1, layers).
Partition partition_at(const std::vector<int>& cuts, int layers, std::int64_t stages);

// A table for people: per stage its layers, cost and share; then the imbalance (1 - mean / max)
// and, for costs in "ms", the best possible speed-up sum / max.
std::string describe(const Partition& partition, const LayerCosts& costs,
                     std::string_view cost_unit);

}  // namespace stagecoach
