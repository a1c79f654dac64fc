// simulate: replays a schedule with given costs: exact, discrete events, linear in actions.
#pragma once

#include <vector>

#include "pipeline/schedule/program.h"

namespace stagecoach {

// Of one micro-batch on one stage. Times in seconds (or any unit that all costs share).
struct StageCosts {
  double forward = 1, backward_input = 1, backward_weight = 1;  // BW costs both of the latter
  double last_weight = -1;  // W that ends a group, where layers do there what they put off; below
                            // 0: like the others
  double recompute = -1;    // R; below 0: like forward
  double recompute_in_backward = 0;  // of BW besides B and W, where layers are recomputed in runs
  double slot_bytes = 1;             // what is kept from F to W
  double output_bytes = 0;  // of the message to the next stage, and of the gradient it sends back
  // Of its gradients over the replicas: REDUCE_GRAD, or STEP where there is none. Replicas that are
  // in the table begin with it when all have come to theirs.
  double sum = 0;
  // What of the sum runs beside the last W of the stage, at its end; the rest then runs beside what
  // the rank does next, one stage's sum after the other's, and REDUCE_GRAD waits for it. 0: the
  // rank does nothing else while it sums.
  double hidden_sum = 0;
};

struct SimulationCosts {
  std::vector<StageCosts> stages;
  // A message between two ranks arrives `latency` after its last byte has left; a rank sends its
  // messages to another one after the other. Neither keeps a rank from computing.
  double latency = 0;
  double bandwidth = 0;  // bytes per second; 0: unlimited
  // W of so many micro-batches are a group (see GradientTree); 0: those of the whole step, or
  // where stages have replicas of a group of the table (see Placement).
  int weight_group = 0;
};

struct SimulatedAction {
  int rank = 0;
  Action action;
  double start = 0, end = 0;  // seconds from the start of the step
};

struct Simulation {
  std::vector<SimulatedAction>
      actions;  // by rank, then in the rank's order; empty if not asked for
  double makespan = 0;
  // Of the last F, B, W, BW or R: the makespan without the sums behind it.
  double work_end = 0;
  // From a rank's first start to its last end, of the rank where that is the longest: what the
  // zero-bubble papers divide by.
  double longest_span = 0;
  // Per rank.
  std::vector<double> busy;  // time of F, B, W, BW and R
  std::vector<int> peak_slots;
  std::vector<double> peak_bytes;  // of slots
  // 1 - sum(busy) / (ranks * makespan); 0 for an empty schedule.
  double bubble() const;
  double work_bubble() const;  // until work_end
};

// Whether an action waits until the buffer that it writes is free; or there are always enough of
// them, as in the papers.
enum class BufferLimit { kPlanned, kNone };

// An action starts when its rank's previous one has ended and what it depends on (data, buffers) is
// done. With or without communication actions: the same times. `keep_actions` false leaves
// `actions` empty, for large tables. Throws Error for costs of another number of stages, or such
// that are not finite, or negative.
Simulation simulate(const Program& program, const SimulationCosts& costs, BufferLimit limit,
                    bool keep_actions = true);

// 1 - mean / max of the per-rank work: what no number of micro-batches can remove.
double imbalance(const std::vector<double>& busy);

}  // namespace stagecoach
