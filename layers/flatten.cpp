#include "core/error.h"
#include "kernels/permute.h"
#include "layers/layer_text.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

TensorSpec flat(const TensorSpec& input) {
  const Shape& shape = input.shape;
  return row_major({shape[0], shape[1] * shape[2] * shape[3]}, input.dtype);
}

// A flat tensor as the row-major image whose elements it holds.
Tensor as_image(Tensor tensor, const TensorSpec& image) {
  tensor.spec = row_major(image.shape, image.dtype);
  return tensor;
}

class Flatten final : public Layer {
 public:
  std::string describe() const override { return "Flatten()"; }

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    const TensorSpec& input = single_input(*this, inputs);
    STAGECOACH_CHECK(input.shape.rank() == 4 && is_floating(input.dtype) &&
                         input.format == MemoryFormat::kChannelsLast && input.elements() > 0,
                     "Flatten", "input F32 or BF16 channels_last of rank 4, not empty",
                     input.to_string());
    LayerPlan plan;
    plan.inputs = {input};
    plan.outputs = {flat(input)};
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan&, const LayerCall& call) const override {
    permute_format(context, as_image(call.outputs[0], call.inputs[0].spec), call.inputs[0]);
  }

  void backward_input_impl(Context& context, const LayerPlan&,
                           const LayerCall& call) const override {
    permute_format(context, call.input_grads[0],
                   as_image(call.output_grads[0], call.input_grads[0].spec));
  }
};

}  // namespace

std::shared_ptr<const Layer> flatten_layer() {
  return std::make_shared<Flatten>();
}

}  // namespace stagecoach
