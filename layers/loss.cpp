#include "layers/loss.h"

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

}  // namespace stagecoach
