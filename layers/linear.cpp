#include "kernels/linear.h"

#include <cmath>

#include "core/error.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

class Linear final : public Layer {
 public:
  Linear(std::int64_t in_features, std::int64_t out_features)
      : in_features_(in_features), out_features_(out_features) {
    STAGECOACH_CHECK(in_features >= 1 && out_features >= 1, "linear_layer", "features >= 1",
                     describe());
  }

  std::string describe() const override {
    return fmt::format("Linear({}, {})", in_features_, out_features_);
  }

  LayerPlan plan(const TensorSpec& input, const Target& target) const override {
    STAGECOACH_CHECK(input.shape.rank() == 2 && input.shape[0] >= 1 && is_floating(input.dtype) &&
                         input == row_major({input.shape[0], in_features_}, input.dtype),
                     "Linear", fmt::format("input F32 or BF16 [N, {}]", in_features_),
                     input.to_string());
    const float bound = static_cast<float>(1.0 / std::sqrt(static_cast<double>(in_features_)));
    LayerPlan plan;
    plan.input = input;
    plan.output = row_major({input.shape[0], out_features_}, input.dtype);
    plan.parameters = {{"weight", row_major({out_features_, in_features_}), bound},
                       {"bias", row_major({out_features_}), bound}};
    plan.workspace_bytes = linear_workspace_bytes(
        input, row_major({out_features_, in_features_}, input.dtype), target);
    plan.input_needed_by_weight = true;
    return plan;
  }

  void forward(Context& context, const ForwardTensors& tensors, const MicroBatch&,
               std::uint32_t) const override {
    linear_forward(context, tensors.output, tensors.input, tensors.parameters[0],
                   tensors.parameters[1], tensors.activation);
  }

  void backward_input(Context& context, const BackwardInputTensors& tensors, const MicroBatch&,
                      std::uint32_t) const override {
    linear_backward_input(context, tensors.input_grad, tensors.output_grad, tensors.parameters[0]);
  }

  void backward_weight(Context& context, const BackwardWeightTensors& tensors) const override {
    linear_backward_weight(context, tensors.parameter_grads[0], tensors.parameter_grads[1],
                           tensors.output_grad, tensors.input, tensors.mode);
  }

  bool fuses_relu_after(const Target& target) const override {
    return target.device.type == DeviceType::kCuda;
  }

 private:
  std::int64_t in_features_, out_features_;
};

}  // namespace

std::shared_ptr<const Layer> linear_layer(std::int64_t in_features, std::int64_t out_features) {
  return std::make_shared<Linear>(in_features, out_features);
}

}  // namespace stagecoach
