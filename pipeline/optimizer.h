// Optimizer: how gradients move parameters. It works on flat memory, so whoever holds a part of the
// parameters can step that part.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "kernels/optimizers.h"
#include "pipeline/learning_rate.h"

namespace stagecoach {

// What an optimizer keeps for each parameter: F32 of its shape, zeros at first.
struct OptimizerState {
  const char* name;  // PyTorch's: "momentum_buffer"
};

// Some parameters one behind the other, and what belongs to them: all [n].
struct FlatShard {
  Tensor parameters, gradients;  // F32
  std::vector<Tensor> states;    // F32, in the order of Optimizer::states()
  Tensor copies;                 // of the parameters, in BF16; undefined where there are none
};

// Holds what does not change while it trains: all memory is the caller's.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  virtual std::string_view name() const = 0;  // "sgd"
  virtual std::span<const OptimizerState> states() const = 0;
  // What begin_step() is to be told on every context before a training step; the first is 0.
  virtual StepValues values(std::int64_t step) const = 0;
  // Enqueues the update of a shard.
  virtual void step(Context& context, const FlatShard& shard) const = 0;
};

std::shared_ptr<const Optimizer> make_sgd(const LearningRate& learning_rate,
                                          const SgdOptions& options = {});
std::shared_ptr<const Optimizer> make_adam(const LearningRate& learning_rate,
                                           const AdamOptions& options = {});

}  // namespace stagecoach
