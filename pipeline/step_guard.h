// StepGuard: the one rule, on every device, for losses that are not finite. A training step with
// such a loss changes no weight and no optimizer state, nor do the steps that were launched behind
// it, and whoever finishes it is told. Other losses change nothing: an evaluation's are its result.
#pragma once

#include <vector>

#include "core/buffer.h"
#include "core/context.h"
#include "pipeline/step_input.h"

namespace stagecoach {

class StepGuard {
 public:
  // `contexts`: of all ranks, which outlive the guard. They get its flag: the last stage of a
  // training step raises it (raise_unless_finite), optimizers look at it.
  StepGuard(std::vector<Context*> contexts, int micro_batches);
  // Waits for what is enqueued.
  ~StepGuard();
  StepGuard(const StepGuard&) = delete;
  StepGuard& operator=(const StepGuard&) = delete;

  // Before a step is enqueued. A flag stays up while training steps are in flight: the ones behind
  // the step that raised it must see it.
  void begin(bool behind_a_training_step);
  // After a step: throws the NumericError of the first loss of a training step that is not finite.
  // By the losses themselves: a step that runs already may have raised the flag. `losses`: F32 of
  // all samples, on the host.
  void check(const StepInput& input, const Tensor& losses) const;

 private:
  std::vector<Context*> contexts_;
  int micro_batches_;
  Buffer flag_;
};

}  // namespace stagecoach
