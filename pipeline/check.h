// check: proves before anything runs that a schedule is complete, ordered and free of deadlock.
#pragma once

#include <vector>

#include "pipeline/schedule.h"

namespace stagecoach {

// How many buffers each stage has. Besides the data flow, they bound the order of actions:
// F(m) writes slot m % slots, so it needs W(m - slots) done on its stage, and on the next stage
// too, which reads the slot's output in place. B(m) of stage s > 0 writes gradient buffer
// m % gradient_buffers, so W(m - gradient_buffers) must be done on stage s - 1, which reads it in
// place. (In forward-only tables: F of the next stage instead of W.)
struct BufferCounts {
  std::vector<int> slots;             // per stage, >= 1
  std::vector<int> gradient_buffers;  // per stage, >= 1
};

// slots_of(schedule), and min(2, M) gradient buffers for each stage. In forward-only tables min(2,
// M) slots where there is a next stage: with one, a stage would wait until the next has read it.
BufferCounts default_buffers(const Schedule& schedule);

// Throws Error naming rank, position and action for the first of these that does not hold:
// stages and micro-batches in range; every stage on one rank; every F, B and W exactly once (or
// only every F: forward-only), every send with its receive (in tables with communication: every
// pair of neighbouring stages on two ranks has exactly one of each per micro-batch and kind, and
// nobody else has any); B after F, W after B, B and W
// of a stage in micro-batch order; never more slots alive than planned; no cycle: when ranks wait
// for each other, the message lists the actions of the cycle.
void check(const Schedule& schedule, const BufferCounts& buffers);

// The first part of check(): everything but the order between different actions of a micro-batch,
// slots and cycles. What passes can be replayed.
void check_tables(const Schedule& schedule, const BufferCounts& buffers);

}  // namespace stagecoach
