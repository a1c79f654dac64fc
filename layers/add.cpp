#include "kernels/add.h"

#include "core/copy.h"
#include "layers/layer_text.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

class Add final : public Layer {
 public:
  std::string describe() const override { return "Add()"; }

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    STAGECOACH_CHECK(inputs.size() == 2, describe(), "2 inputs", fmt::format("{}", inputs.size()));
    STAGECOACH_CHECK(is_floating(inputs[0].dtype) && inputs[0] == inputs[1], describe(),
                     "two inputs F32 or BF16 of one spec",
                     fmt::format("{} and {}", inputs[0].to_string(), inputs[1].to_string()));
    LayerPlan plan;
    plan.inputs = {inputs[0], inputs[1]};
    plan.outputs = {inputs[0]};
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan&, const LayerCall& call) const override {
    add(context, call.outputs[0], call.inputs[0], call.inputs[1]);
  }

  void backward_input_impl(Context& context, const LayerPlan&,
                           const LayerCall& call) const override {
    for (const Tensor& input_grad : call.input_grads) {
      if (input_grad.defined()) copy(context.stream(), input_grad, call.output_grads[0]);
    }
  }
};

}  // namespace

std::shared_ptr<const Layer> add_layer() {
  return std::make_shared<Add>();
}

}  // namespace stagecoach
