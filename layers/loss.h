// Losses: the last layer of a network.
#pragma once

#include "layers/layer.h"

namespace stagecoach {

// A layer with the inputs {prediction, targets} and the outputs
//   {losses F32 [N]: of each sample} or {losses, correct I32 [N]: 1 for a right answer, else 0}.
// B is the gradient with respect to the prediction of the mean loss over MicroBatch::batch samples.
// The targets have none. Rows behind those samples (MicroBatch::samples_of) fill up the last batch
// of an epoch: their losses, right answers and gradients are 0.
class Loss : public Layer {
 public:
  // Of a prediction of this spec.
  virtual TensorSpec target_spec(const TensorSpec& prediction) const = 0;

 protected:
  // The prediction, where `inputs` are one and its targets. Else Error naming the loss.
  const TensorSpec& prediction_of(std::span<const TensorSpec> inputs) const;
  bool outputs_have_gradients() const final { return false; }
  // The gradient that F has saved; Error unless the plan says saved_is_input_grad.
  void backward_input_impl(Context& context, const LayerPlan& plan,
                           const LayerCall& call) const override;
};

// torch.nn.CrossEntropyLoss: prediction [N, C], targets I32 [N] in [0, C). `label_smoothing` in
// [0, 1): that much of the target is shared out evenly over all classes (Szegedy et al. 2016).
std::shared_ptr<const Loss> softmax_cross_entropy_loss(float label_smoothing = 0);
// torch.nn.MSELoss: prediction [N, ...] and targets F32 of the same shape; of a sample the mean of
// the squared differences of its elements.
std::shared_ptr<const Loss> mean_squared_error_loss();

}  // namespace stagecoach
