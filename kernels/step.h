// What changes from step to step, told to the operations that follow by one road for all devices:
// it is written in the order of the context's stream, to where they read it as they run. So an
// operation that was captured into a graph need not be captured again.
#pragma once

#include "core/context.h"

namespace stagecoach {

// The factors of Adam that depend on the step: lr / (1 - beta1^step) and sqrt(1 - beta2^step).
struct AdamRates {
  float rate = 0, root2 = 1;
};

struct StepValues {
  std::int64_t step = 0;    // training step, from 0: of dropout's masks
  float learning_rate = 0;  // of sgd_step
  AdamRates adam = {};      // of adam_step
};

// Enqueues the write: dropout, sgd_step and adam_step that are enqueued on this context later use
// these values, until the next call. Comes before the first of them.
void begin_step(Context& context, const StepValues& values);

}  // namespace stagecoach
