// simulate: replays a schedule with given costs: exact, discrete events, linear in actions.
#pragma once

#include <vector>

#include "pipeline/check.h"
#include "pipeline/schedule.h"

namespace stagecoach {

// Seconds per micro-batch on one stage.
struct StageCosts {
  double forward = 1, backward_input = 1, backward_weight = 1;
};

struct SimulatedAction {
  int rank = 0;
  Action action;
  double start = 0, end = 0;  // seconds from the start of the step
};

struct Simulation {
  std::vector<SimulatedAction> actions;  // by rank, then in the rank's order
  double makespan = 0;
  std::vector<double> busy;  // per rank: sum of F, B and W
  // 1 - sum(busy) / (ranks * makespan); 0 for an empty schedule.
  double bubble() const;
};

// Sends and receives take no time (one process hands memory over). An action starts when its rank's
// previous one has ended and what it depends on (data, buffers) is done. `schedule` with or without
// communication actions: the same times. Throws Error like check() where it cannot go on.
Simulation simulate(const Schedule& schedule, const std::vector<StageCosts>& costs,
                    const BufferCounts& buffers);

// (K - 1) / (M + K - 1): the bubble fraction of GPipe and 1F1B with equal stages
// (Huang et al. 2019, Narayanan et al. 2021); naive: 1 - 1 / K.
double textbook_bubble(const Schedule& schedule);

// 1 - mean / max of the per-rank work: what no number of micro-batches can remove.
double imbalance(const std::vector<double>& busy);

}  // namespace stagecoach
