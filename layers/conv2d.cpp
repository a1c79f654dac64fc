#include "kernels/conv2d.h"

#include <cmath>

#include "core/error.h"
#include "layers/layer_text.h"
#include "layers/layers.h"

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

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target& target) const override {
    const TensorSpec& input = single_input(*this, inputs);
    // conv2d_output() would blame the weight.
    STAGECOACH_CHECK(input.shape.rank() == 4 && input.shape[1] == in_channels_, "Conv2d",
                     fmt::format("input [N, {}, H, W]", in_channels_), input.to_string());
    const float bound =
        static_cast<float>(1.0 / std::sqrt(static_cast<double>(in_channels_ * kernel_ * kernel_)));
    const TensorSpec used = weight_of(input.dtype);  // by the operations
    LayerPlan plan;
    plan.inputs = {input};
    plan.outputs = {conv2d_output(input, used, options_)};
    plan.parameters = {{"weight", weight_of(DType::kF32), Init::uniform(bound)},
                       {"bias", row_major({out_channels_}), Init::uniform(bound)}};
    const Conv2dStep step = conv2d_step(input, used, options_, target);
    if (step.forward.elements() > 0) plan.prepared = {step.forward, step.backward};
    if (step.sums.elements() > 0) plan.weight_state = {step.sums};
    plan.workspace_bytes = conv2d_workspace_bytes(input, used, options_, target);
    plan.inputs_needed_by_weight = true;
    plan.multiply_adds = plan.outputs[0].elements() * in_channels_ * kernel_ * kernel_;
    plan.kind = LayerKind::kConv2d;
    return plan;
  }

 protected:
  void prepare_impl(Context& context, const LayerPlan& plan, const LayerCall& call) const override {
    const Tensor backward = call.micro.training ? call.prepared[1] : Tensor{};
    conv2d_prepare(context, call.prepared[0], backward, plan.inputs[0], call.parameters[0],
                   options_);
  }

  void forward_impl(Context& context, const LayerPlan& plan, const LayerCall& call) const override {
    conv2d_forward(context, call.outputs[0], call.inputs[0], call.parameters[0], call.parameters[1],
                   options_, plan.fused.activation, nth(call.prepared, 0));
  }

  void backward_input_impl(Context& context, const LayerPlan&,
                           const LayerCall& call) const override {
    conv2d_backward_input(context, call.input_grads[0], call.output_grads[0], call.parameters[0],
                          options_, nth(call.prepared, 1));
  }

  void backward_weight_impl(Context& context, const LayerPlan& plan,
                            const LayerCall& call) const override {
    const Tensor sums = nth(call.weight_state, 0);
    conv2d_backward_weight(context, call.parameter_grads[0], call.parameter_grads[1],
                           call.output_grads[0], call.inputs[0], options_, call.mode(), sums);
    if (sums.defined() && call.last_weight) {
      conv2d_finish_weight(context, call.parameter_grads[0], sums, plan.inputs[0], options_);
    }
  }

 private:
  // What this target has no use for is not planned.
  static Tensor nth(std::span<const Tensor> tensors, std::size_t n) {
    return n < tensors.size() ? tensors[n] : Tensor{};
  }

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
