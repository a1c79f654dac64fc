#include <cmath>

#include "core/error.h"
#include "layers/layers.h"
#include "layers/text.h"

namespace stagecoach {
namespace {

class Conv2d final : public Layer {
 public:
  Conv2d(std::int64_t in_channels, std::int64_t out_channels, std::int64_t kernel,
         const Conv2dOptions& options)
      : in_channels_(in_channels), out_channels_(out_channels), kernel_(kernel), options_(options) {
    STAGECOACH_CHECK(in_channels >= 1 && out_channels >= 1 && kernel >= 1, "conv2d_layer",
                     "channels and kernel >= 1", describe());
  }

  std::string describe() const override {
    return fmt::format("Conv2d({}, {}, kernel {}x{}, stride {}{})", in_channels_, out_channels_,
                       kernel_, kernel_, sides(options_.stride_h, options_.stride_w),
                       padding_text(options_.padding_h, options_.padding_w));
  }

  LayerPlan plan(const TensorSpec& input, const Target& target) const override {
    // conv2d_output() would blame the weight.
    STAGECOACH_CHECK(input.shape.rank() == 4 && input.shape[1] == in_channels_, "Conv2d",
                     fmt::format("input [N, {}, H, W]", in_channels_), input.to_string());
    const TensorSpec weight = weight_of(DType::kF32);
    const float bound =
        static_cast<float>(1.0 / std::sqrt(static_cast<double>(in_channels_ * kernel_ * kernel_)));
    const TensorSpec used = weight_of(input.dtype);  // by the operations
    LayerPlan plan;
    plan.input = input;
    plan.output = conv2d_output(input, used, options_);
    plan.parameters = {{"weight", weight, bound}, {"bias", row_major({out_channels_}), bound}};
    plan.workspace_bytes = conv2d_workspace_bytes(input, used, options_, target);
    plan.input_needed_by_weight = true;
    return plan;
  }

  void forward(Context& context, const ForwardTensors& tensors, const MicroBatch&,
               std::uint32_t) const override {
    conv2d_forward(context, tensors.output, tensors.input, tensors.parameters[0],
                   tensors.parameters[1], options_, tensors.activation);
  }

  void backward_input(Context& context, const BackwardInputTensors& tensors, const MicroBatch&,
                      std::uint32_t) const override {
    conv2d_backward_input(context, tensors.input_grad, tensors.output_grad, tensors.parameters[0],
                          options_);
  }

  void backward_weight(Context& context, const BackwardWeightTensors& tensors) const override {
    conv2d_backward_weight(context, tensors.parameter_grads[0], tensors.parameter_grads[1],
                           tensors.output_grad, tensors.input, options_, tensors.mode);
  }

  bool fuses_relu_after(const Target& target) const override {
    return target.device.type == DeviceType::kCuda;
  }

 private:
  TensorSpec weight_of(DType dtype) const {
    return channels_last(out_channels_, in_channels_, kernel_, kernel_, dtype);
  }

  std::int64_t in_channels_, out_channels_, kernel_;
  Conv2dOptions options_;
};

}  // namespace

std::shared_ptr<const Layer> conv2d_layer(std::int64_t in_channels, std::int64_t out_channels,
                                          std::int64_t kernel, const Conv2dOptions& options) {
  return std::make_shared<Conv2d>(in_channels, out_channels, kernel, options);
}

}  // namespace stagecoach
