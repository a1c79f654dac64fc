// Buffer counts: how many buffers of each kind the stages of a schedule need.
#pragma once

#include <vector>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// How many of each buffer a stage has. All numbers are per stage, each of its replicas having as
// many, and at least 1.
//
// Those of the stage alone follow from the order of its rank's actions. Each holds one micro-batch,
// and a micro-batch takes any that is free:
//   slots               what F saves for B and W: from F to W; where the table has an R, during F
//                       and from R to W
//   received            inputs from another rank, where they are copied: from RECV_F to W
//   received_gradients  likewise gradients of the output: from RECV_B to W
//   gradient_slots      gradients inside the stage: from B to W
// Where a stage has no RECV_F or RECV_B, F and B stand for them.
//
// Those that later or earlier stages read in place bound the order of different ranks. The
// micro-batch with number n of a replica (see Placement) has buffer n % count:
//   outputs          F(n) waits until W(n - outputs) is done on its stage and on all stages up to
//                    the last that reads them (Reach)
//   input_gradients  B(n) waits until W(n - input_gradients) is done on all stages that read them
// In forward-only tables everything ends with F, and `outputs` waits for F of the later stages.
struct BufferCounts {
  std::vector<int> slots, received, received_gradients, gradient_slots, outputs, input_gradients;
};

class Dependencies;
class Placement;
class SlotUse;

// Of a schedule without faults but, perhaps, cycles: Error when ranks wait for each other. With
// these buffers nothing waits for a buffer when every action takes the same time. `data`: without
// buffers.
BufferCounts buffer_counts_of(const Schedule& schedule, const Dependencies& data,
                              const SlotUse& slots);

// All but outputs and input_gradients: they follow from the order of each rank alone.
BufferCounts own_buffers_of(const Schedule& schedule, const Placement& placement,
                            const SlotUse& slots);

}  // namespace stagecoach
