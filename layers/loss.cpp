#include "layers/loss.h"

#include "core/copy.h"
#include "core/error.h"

namespace stagecoach {

const TensorSpec& Loss::prediction_of(std::span<const TensorSpec> inputs) const {
  STAGECOACH_CHECK(inputs.size() == 2, describe(), "2 inputs, a prediction and its targets",
                   fmt::format("{}", inputs.size()));
  const TensorSpec targets = target_spec(inputs[0]);
  STAGECOACH_CHECK(inputs[1] == targets, describe(), fmt::format("targets {}", targets.to_string()),
                   inputs[1].to_string());
  return inputs[0];
}

void Loss::backward_input_impl(Context& context, const LayerPlan& plan,
                               const LayerCall& call) const {
  STAGECOACH_CHECK(plan.saved_is_input_grad, describe(),
                   "a backward_input_impl(), or a plan with saved_is_input_grad", "neither");
  copy(context.stream(), call.input_grads[0], call.saved[0]);
}

}  // namespace stagecoach
