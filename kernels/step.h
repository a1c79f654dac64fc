// What changes from step to step, told to the operations that follow. Kernels of a GPU read it from
// the GPU's memory, so that a captured graph need not be captured again.
#pragma once

#include "core/context.h"
#include "kernels/optimizers.h"

namespace stagecoach {

struct StepValues {
  std::int64_t step = 0;    // training step, from 0: of dropout's masks
  float learning_rate = 0;  // of sgd_step
  AdamRates adam = {};      // of adam_step
};

// On a GPU, enqueues the write; dropout, sgd_step and adam_step on this context use these values
// instead of their arguments' until the next call. On the CPU the arguments are what counts, and
// this does nothing.
void begin_step(Context& context, const StepValues& values);

}  // namespace stagecoach
