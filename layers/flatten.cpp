#include "core/error.h"
#include "kernels/permute.h"
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

  LayerPlan plan(const TensorSpec& input, const Target&) const override {
    STAGECOACH_CHECK(input.shape.rank() == 4 && is_floating(input.dtype) &&
                         input.format == MemoryFormat::kChannelsLast && input.elements() > 0,
                     "Flatten", "input F32 or BF16 channels_last of rank 4, not empty",
                     input.to_string());
    LayerPlan plan;
    plan.input = input;
    plan.output = flat(input);
    return plan;
  }

  void forward(Context& context, const ForwardTensors& tensors, const MicroBatch&,
               std::uint32_t) const override {
    check_tensor(context, "Flatten", "output", tensors.output, flat(tensors.input.spec));
    permute_format(context, as_image(tensors.output, tensors.input.spec), tensors.input);
  }

  void backward_input(Context& context, const BackwardInputTensors& tensors, const MicroBatch&,
                      std::uint32_t) const override {
    check_tensor(context, "Flatten", "output_grad", tensors.output_grad,
                 flat(tensors.input_grad.spec));
    permute_format(context, tensors.input_grad,
                   as_image(tensors.output_grad, tensors.input_grad.spec));
  }
};

}  // namespace

std::shared_ptr<const Layer> flatten_layer() {
  return std::make_shared<Flatten>();
}

}  // namespace stagecoach
