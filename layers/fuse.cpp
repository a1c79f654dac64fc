#include "layers/fuse.h"

#include <algorithm>

namespace stagecoach {
namespace {

using Rewrite = void (*)(LayerPlan& first, LayerPlan& second);

// A convolution or product can apply the ReLU to what it writes; applying it again changes nothing.
void forward_with_relu(LayerPlan& first, LayerPlan& relu) {
  first.fused.activation = Activation::kRelu;
  relu.fused.forward_is_copy = true;
}

// A pool can let no gradient through to what the ReLU cut off; then the ReLU has nothing to do in
// B, and need not keep its output for it.
void backward_with_relu(LayerPlan& relu, LayerPlan& pool) {
  pool.fused.input_from_relu = true;
  relu.fused.backward_is_copy = true;
  relu.outputs_needed_by_input = false;
}

struct Pattern {
  LayerKind first, second;
  Rewrite rewrite;
};

constexpr Pattern kPatterns[] = {
    {LayerKind::kConv2d, LayerKind::kRelu, forward_with_relu},
    {LayerKind::kLinear, LayerKind::kRelu, forward_with_relu},
    {LayerKind::kRelu, LayerKind::kMaxPool2d, backward_with_relu},
};

// By layer: how many inputs read its first output.
std::vector<int> readers_of(const std::vector<std::vector<ValueId>>& inputs) {
  std::vector<int> readers(inputs.size(), 0);
  for (const auto& of_layer : inputs) {
    for (const ValueId& value : of_layer) {
      if (value.layer >= 0 && value.output == 0) ++readers[static_cast<std::size_t>(value.layer)];
    }
  }
  return readers;
}

}  // namespace

void fuse(std::vector<LayerPlan>& plans, const std::vector<std::vector<ValueId>>& inputs) {
  const std::vector<int> readers = readers_of(inputs);
  for (std::size_t second = 0; second < inputs.size(); ++second) {
    if (inputs[second].size() != 1 || inputs[second][0].layer < 0) continue;
    const auto first = static_cast<std::size_t>(inputs[second][0].layer);
    if (readers[first] != 1) continue;
    const auto pattern = std::ranges::find_if(kPatterns, [&](const Pattern& p) {
      return p.first == plans[first].kind && p.second == plans[second].kind;
    });
    if (pattern != std::end(kPatterns)) pattern->rewrite(plans[first], plans[second]);
  }
}

}  // namespace stagecoach
