#include "kernels/relu.h"

#include "core/error.h"
#include "layers/layer_text.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

class Relu final : public Layer {
 public:
  std::string describe() const override { return "ReLU()"; }

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    const TensorSpec& input = single_input(*this, inputs);
    STAGECOACH_CHECK(is_floating(input.dtype), "ReLU", "input F32 or BF16", input.to_string());
    LayerPlan plan;
    plan.inputs = {input};
    plan.outputs = {input};
    plan.in_place = true;
    plan.kind = LayerKind::kRelu;
    plan.outputs_needed_by_input = true;
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan&, const LayerCall& call) const override {
    relu_forward(context, call.outputs[0], call.inputs[0]);
  }

  void backward_input_impl(Context& context, const LayerPlan&,
                           const LayerCall& call) const override {
    relu_backward(context, call.input_grads[0], call.output_grads[0], call.outputs[0]);
  }
};

}  // namespace

std::shared_ptr<const Layer> relu_layer() {
  return std::make_shared<Relu>();
}

}  // namespace stagecoach
