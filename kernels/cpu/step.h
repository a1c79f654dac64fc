// What changes from step to step, on the CPU: tasks of a context's stream write and read it.
#pragma once

#include "kernels/step.h"

namespace stagecoach::cpu {

struct StepState {
  explicit StepState(const Context&) {}
  StepValues values;
};

// To be read and written by tasks only.
inline StepValues& step_values(Context& context) {
  return context.extension<StepState>().values;
}

}  // namespace stagecoach::cpu
