// What changes from step to step, in a GPU's memory: kernels that a graph repeats read it there.
#pragma once

#include "core/buffer.h"
#include "core/context.h"

namespace stagecoach::cuda {

struct StepState {
  std::uint32_t step;  // of dropout's masks
  std::uint32_t skip;  // not 0: a loss was not finite, optimizers leave everything as it is
  float learning_rate, adam_rate, adam_root2;
  float clip_factor;              // of clip_gradients
  std::uint32_t finished_blocks;  // of the kernel that runs, where its last block does more; or 0
};

// A context's step, of zeros until the first begin_step(). What allocates cannot be captured, so
// that call comes before any graph.
class DeviceStep {
 public:
  explicit DeviceStep(const Context& context) : buffer_(sizeof(StepState), context.device()) {}
  StepState* state() const { return static_cast<StepState*>(buffer_.data()); }

 private:
  Buffer buffer_;
};

inline StepState* step_state(Context& context) {
  return context.extension<DeviceStep>().state();
}

}  // namespace stagecoach::cuda
