#include "kernels/adaptive_avg_pool2d.h"

#include "core/error.h"
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

  LayerPlan plan(const TensorSpec& input, const Target&) const override {
    STAGECOACH_CHECK(input.shape.rank() == 4 && is_floating(input.dtype) &&
                         input.format == MemoryFormat::kChannelsLast && input.elements() > 0,
                     "AdaptiveAvgPool2d", "input F32 or BF16 channels_last of rank 4, not empty",
                     input.to_string());
    LayerPlan plan;
    plan.input = input;
    plan.output = channels_last(input.shape[0], input.shape[1], out_h_, out_w_, input.dtype);
    // Each average is of one value, as behind AlexNet's last pool for images of 224 pixels.
    const bool is_identity = plan.output == input;
    plan.in_place = plan.forward_is_copy = plan.backward_is_copy = is_identity;
    return plan;
  }

  void forward(Context& context, const ForwardTensors& tensors, const MicroBatch&,
               std::uint32_t) const override {
    adaptive_avg_pool2d_forward(context, tensors.output, tensors.input);
  }

  void backward_input(Context& context, const BackwardInputTensors& tensors, const MicroBatch&,
                      std::uint32_t) const override {
    adaptive_avg_pool2d_backward(context, tensors.input_grad, tensors.output_grad);
  }

 private:
  std::int64_t out_h_, out_w_;
};

}  // namespace

std::shared_ptr<const Layer> adaptive_avg_pool2d_layer(std::int64_t out_h, std::int64_t out_w) {
  return std::make_shared<AdaptiveAvgPool2d>(out_h, out_w);
}

}  // namespace stagecoach
