#include "kernels/softmax_cross_entropy.h"
#include "layers/layer_text.h"
#include "layers/loss.h"

namespace stagecoach {
namespace {

class SoftmaxCrossEntropyLoss final : public Loss {
 public:
  std::string describe() const override { return "SoftmaxCrossEntropy()"; }

  TensorSpec target_spec(const TensorSpec& prediction) const override {
    STAGECOACH_CHECK(prediction.shape.rank() == 2 && is_floating(prediction.dtype), describe(),
                     "prediction F32 or BF16 [N, C]", prediction.to_string());
    return row_major({prediction.shape[0]}, DType::kI32);
  }

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    const TensorSpec& prediction = prediction_of(inputs);
    LayerPlan plan;
    plan.inputs = {prediction, inputs[1]};
    plan.outputs = {row_major({prediction.shape[0]}),
                    row_major({prediction.shape[0]}, DType::kI32)};
    plan.saved = {prediction};
    plan.saved_is_input_grad = true;
    plan.differentiable = {true, false};
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan&, const LayerCall& call) const override {
    softmax_cross_entropy(context, call.outputs[0], call.outputs[1], call.saved[0], call.inputs[0],
                          call.inputs[1], 1.0f / static_cast<float>(call.micro.batch));
  }
};

}  // namespace

std::shared_ptr<const Loss> softmax_cross_entropy_loss() {
  return std::make_shared<SoftmaxCrossEntropyLoss>();
}

}  // namespace stagecoach
