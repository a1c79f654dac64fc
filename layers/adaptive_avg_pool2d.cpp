#include "kernels/adaptive_avg_pool2d.h"

#include "core/error.h"
#include "layers/layer_text.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

class AdaptiveAvgPool2d final : public Layer {
 public:
  AdaptiveAvgPool2d(std::int64_t out_h, std::int64_t out_w) : out_h_(out_h), out_w_(out_w) {
    STAGECOACH_CHECK(out_h >= 1 && out_w >= 1, "adaptive_avg_pool2d_layer", "sizes >= 1",
                     describe());
  }

  std::string describe() const override {
    return fmt::format("AdaptiveAvgPool2d({}x{})", out_h_, out_w_);
  }

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    const TensorSpec& input = single_input(*this, inputs);
    STAGECOACH_CHECK(input.shape.rank() == 4 && is_floating(input.dtype) &&
                         input.format == MemoryFormat::kChannelsLast && input.elements() > 0,
                     "AdaptiveAvgPool2d", "input F32 or BF16 channels_last of rank 4, not empty",
                     input.to_string());
    LayerPlan plan;
    plan.inputs = {input};
    plan.outputs = {channels_last(input.shape[0], input.shape[1], out_h_, out_w_, input.dtype)};
    // Each average is of one value, as behind AlexNet's last pool for images of 224 pixels.
    const bool is_identity = plan.outputs[0] == input;
    plan.in_place = plan.fused.forward_is_copy = plan.fused.backward_is_copy = is_identity;
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan&, const LayerCall& call) const override {
    adaptive_avg_pool2d_forward(context, call.outputs[0], call.inputs[0]);
  }

  void backward_input_impl(Context& context, const LayerPlan&,
                           const LayerCall& call) const override {
    adaptive_avg_pool2d_backward(context, call.input_grads[0], call.output_grads[0]);
  }

 private:
  std::int64_t out_h_, out_w_;
};

}  // namespace

std::shared_ptr<const Layer> adaptive_avg_pool2d_layer(std::int64_t out_h, std::int64_t out_w) {
  return std::make_shared<AdaptiveAvgPool2d>(out_h, out_w);
}

}  // namespace stagecoach
