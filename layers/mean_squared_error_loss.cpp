#include "kernels/mean_squared_error.h"
#include "layers/layer_text.h"
#include "layers/loss.h"

namespace stagecoach {
namespace {

class MeanSquaredErrorLoss final : public Loss {
 public:
  std::string describe() const override { return "MeanSquaredError()"; }

  TensorSpec target_spec(const TensorSpec& prediction) const override {
    STAGECOACH_CHECK(
        prediction.shape.rank() >= 1 && is_floating(prediction.dtype) && prediction.elements() > 0,
        describe(), "prediction F32 or BF16 [N, ...], not empty", prediction.to_string());
    TensorSpec targets = prediction;
    targets.dtype = DType::kF32;
    return targets;
  }

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    const TensorSpec& prediction = prediction_of(inputs);
    LayerPlan plan;
    plan.inputs = {prediction, inputs[1]};
    plan.outputs = {row_major({prediction.shape[0]})};
    plan.saved = {prediction};
    plan.saved_is_input_grad = true;
    plan.differentiable = {true, false};
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan&, const LayerCall& call) const override {
    mean_squared_error(context, call.outputs[0], call.saved[0], call.inputs[0], call.inputs[1],
                       1.0f / static_cast<float>(call.micro.batch),
                       call.micro.samples_of(call.inputs[0].shape()[0]));
  }
};

}  // namespace

std::shared_ptr<const Loss> mean_squared_error_loss() {
  return std::make_shared<MeanSquaredErrorLoss>();
}

}  // namespace stagecoach
