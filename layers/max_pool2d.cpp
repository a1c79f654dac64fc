#include "kernels/max_pool2d.h"

#include "core/error.h"
#include "layers/layer_text.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

class MaxPool2d final : public Layer {
 public:
  explicit MaxPool2d(const MaxPool2dOptions& options) : options_(options) {}

  std::string describe() const override {
    return fmt::format("MaxPool2d(kernel {}x{}, stride {}{})", options_.kernel_h, options_.kernel_w,
                       sides(options_.stride_h, options_.stride_w),
                       padding_text(options_.padding_h, options_.padding_w));
  }

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    const TensorSpec& input = single_input(*this, inputs);
    LayerPlan plan;
    plan.inputs = {input};
    plan.outputs = {max_pool2d_output(input, options_)};
    TensorSpec index = plan.outputs[0];
    index.dtype = DType::kU8;
    if (options_.kernel_h * options_.kernel_w <= kNoPlace) plan.kind = LayerKind::kMaxPool2d;
    plan.saved = {index};  // a quarter of the input that B would need otherwise, or less
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan& plan, const LayerCall& call) const override {
    max_pool2d_forward(
        context, call.outputs[0], call.saved[0], call.inputs[0], options_,
        plan.fused.input_from_relu ? MaxPool2dInput::kOutputOfRelu : MaxPool2dInput::kAny);
  }

  void backward_input_impl(Context& context, const LayerPlan&,
                           const LayerCall& call) const override {
    max_pool2d_backward(context, call.input_grads[0], call.output_grads[0], call.saved[0],
                        options_);
  }

 private:
  MaxPool2dOptions options_;
};

}  // namespace

std::shared_ptr<const Layer> max_pool2d_layer(const MaxPool2dOptions& options) {
  return std::make_shared<MaxPool2d>(options);
}

}  // namespace stagecoach
