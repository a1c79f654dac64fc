// Buffer counts: how many buffers of each kind the stages of a schedule need.
#pragma once

#include <vector>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// How many of each buffer a stage has. All numbers are per stage and at least 1.
//
// Those of the stage alone follow from the order of its rank's actions. Each holds one micro-batch,
// and a micro-batch takes any that is free:
//   slots           what F saves for B and W: from F to W; where the table has an R, during F and
//                   from R to W
//   received        inputs from another rank, where they are copied: from F to W
//   gradient_slots  gradients inside the stage: from B to W
// Those that a neighbour reads in place bound the order of different ranks. Micro-batch m has
// number m % count:
//   outputs          F(m) waits until W(m - outputs) is done on its stage and on the next
//   input_gradients  B(m) waits until W(m - input_gradients) is done on the stage before
// In forward-only tables everything ends with F, and `outputs` waits for F of the next stage.
struct BufferCounts {
  std::vector<int> slots, received, gradient_slots, outputs, input_gradients;
};

// For a schedule that has passed check_tables(). Throws Error when ranks wait for each other.
BufferCounts buffer_counts_of(const Schedule& schedule);

// Fills in slots, received and gradient_slots: they follow from the order of each rank alone.
void count_own_buffers(const Schedule& schedule, BufferCounts& buffers);

}  // namespace stagecoach
