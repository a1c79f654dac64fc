#include "kernels/softmax_cross_entropy.h"
#include "layers/layer_text.h"
#include "layers/loss.h"

namespace stagecoach {
namespace {

class SoftmaxCrossEntropyLoss final : public Loss {
 public:
  explicit SoftmaxCrossEntropyLoss(float label_smoothing) : label_smoothing_(label_smoothing) {
    STAGECOACH_CHECK(label_smoothing >= 0 && label_smoothing < 1, "softmax_cross_entropy_loss",
                     "label_smoothing of at least 0 and below 1",
                     fmt::format("{}", label_smoothing));
  }

  std::string describe() const override {
    if (label_smoothing_ == 0) return "SoftmaxCrossEntropy()";
    return fmt::format("SoftmaxCrossEntropy(label_smoothing {})", label_smoothing_);
  }

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
    // What is measured is measured without smoothing.
    softmax_cross_entropy(context, call.outputs[0], call.outputs[1], call.saved[0], call.inputs[0],
                          call.inputs[1], 1.0f / static_cast<float>(call.micro.batch),
                          call.micro.samples_of(call.inputs[0].shape()[0]),
                          call.micro.training ? label_smoothing_ : 0);
  }

 private:
  float label_smoothing_;
};

}  // namespace

std::shared_ptr<const Loss> softmax_cross_entropy_loss(float label_smoothing) {
  return std::make_shared<SoftmaxCrossEntropyLoss>(label_smoothing);
}

}  // namespace stagecoach
