#include "kernels/max_pool2d.h"

#include "core/error.h"
#include "layers/layers.h"
#include "layers/text.h"

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

  LayerPlan plan(const TensorSpec& input, const Target&) const override {
    LayerPlan plan;
    plan.input = input;
    plan.output = max_pool2d_output(input, options_);
    TensorSpec index = plan.output;
    index.dtype = DType::kU8;
    plan.saved = {index};  // a quarter of the input that B would need otherwise, or less
    return plan;
  }

  void forward(Context& context, const ForwardTensors& tensors, const MicroBatch&,
               std::uint32_t) const override {
    max_pool2d_forward(
        context, tensors.output, tensors.saved[0], tensors.input, options_,
        tensors.input_from_relu ? MaxPool2dInput::kOutputOfRelu : MaxPool2dInput::kAny);
  }

  void backward_input(Context& context, const BackwardInputTensors& tensors, const MicroBatch&,
                      std::uint32_t) const override {
    max_pool2d_backward(context, tensors.input_grad, tensors.output_grad, tensors.saved[0],
                        options_);
  }

  bool fuses_relu_before(const Target& target) const override {
    return target.device.type == DeviceType::kCuda &&
           options_.kernel_h * options_.kernel_w <= kNoPlace;
  }

 private:
  MaxPool2dOptions options_;
};

}  // namespace

std::shared_ptr<const Layer> max_pool2d_layer(const MaxPool2dOptions& options) {
  return std::make_shared<MaxPool2d>(options);
}

}  // namespace stagecoach
