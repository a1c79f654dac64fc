// check: proves before anything runs that a schedule is complete, ordered and free of deadlock.
#pragma once

#include <optional>

#include "pipeline/schedule/program.h"

namespace stagecoach {

// Throws Error naming line (of a file), rank, position and action for the first of these that does
// not hold: stages and micro-batches in range; a stage on every rank, and every stage on one, or on
// 2, 4, 8, ... that have blocks of its micro-batches, each of as many that follow each other; every
// F, B and W exactly once (BW counts as both; or only every F: forward-only); F, R, B, W of a
// micro-batch in this order, and W of a stage in micro-batch order, where stages have replicas
// within each group of micro-batches (see Placement); in tables with communication,
// one send and one receive for every pair of neighbouring stages on two ranks, micro-batch and
// direction, and no others, the send after what makes the message, the receive before what reads
// it, receives in the order of their sends; REDUCE_GRAD, where there is any, and STEP after the
// last W of their stage, a STEP for every stage or for none, on all of its ranks, and a REDUCE_GRAD
// for every stage with replicas or for none; no cycle, also of replicas that add their gradients:
// when ranks wait for each other, the message lists the actions of the cycle.
//
// The Program has the buffers with which nothing waits for a buffer when every action takes the
// same time: what the memory plan is made for. 1F1B: min(K - s, M) slots; GPipe: M; naive: 1.
//
// A table whose W come in another order, such as PyTorch's LoopedBFS, adds gradients in another
// order: what trains must not, what is only simulated may.
enum class WeightOrder { kMicroBatches, kAny };

struct CheckOptions {
  WeightOrder order = WeightOrder::kMicroBatches;
  // Instead of those that the table needs; then also: never more slots, received tensors and
  // gradient slots in use than there are, and no cycle over the buffers of other stages.
  std::optional<BufferCounts> buffers = {};
  Reach reach = {};
};

Program check(Schedule schedule, const CheckOptions& options = {});

}  // namespace stagecoach
