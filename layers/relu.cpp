#include "kernels/relu.h"

#include "core/error.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

class Relu final : public Layer {
 public:
  bool is_relu() const override { return true; }
  std::string describe() const override { return "ReLU()"; }

  LayerPlan plan(const TensorSpec& input, const Target&) const override {
    STAGECOACH_CHECK(is_floating(input.dtype), "ReLU", "input F32 or BF16", input.to_string());
    LayerPlan plan;
    plan.input = input;
    plan.output = input;
    plan.in_place = true;
    plan.output_needed_by_input = true;
    return plan;
  }

  void forward(Context& context, const ForwardTensors& tensors, const MicroBatch&,
               std::uint32_t) const override {
    relu_forward(context, tensors.output, tensors.input);
  }

  void backward_input(Context& context, const BackwardInputTensors& tensors, const MicroBatch&,
                      std::uint32_t) const override {
    relu_backward(context, tensors.input_grad, tensors.output_grad, tensors.output);
  }
};

}  // namespace

std::shared_ptr<const Layer> relu_layer() {
  return std::make_shared<Relu>();
}

}  // namespace stagecoach
