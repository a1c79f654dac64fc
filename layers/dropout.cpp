#include "kernels/dropout.h"

#include "core/error.h"
#include "kernels/permute.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

// The same memory under a row-major shape: dropout counts the elements of a row as they lie.
Tensor viewed(Tensor tensor, const Shape& shape) {
  tensor.spec = row_major(shape, tensor.spec.dtype);
  return tensor;
}

class Dropout final : public Layer {
 public:
  explicit Dropout(float p) : p_(p) {
    STAGECOACH_CHECK(p >= 0.0f && p < 1.0f, "dropout_layer", "p in [0, 1)",
                     fmt::format("p = {}", p));
  }

  std::string describe() const override { return fmt::format("Dropout({})", p_); }

  LayerPlan plan(const TensorSpec& input, const Target&) const override {
    STAGECOACH_CHECK(is_floating(input.dtype) && input.shape.rank() >= 1 && input.elements() > 0,
                     "Dropout", "input F32 or BF16 of rank >= 1, not empty", input.to_string());
    LayerPlan plan;
    plan.input = input;
    plan.output = input;
    plan.in_place = true;
    return plan;
  }

  void forward(Context& context, const ForwardTensors& tensors, const MicroBatch& micro,
               std::uint32_t layer_index) const override {
    apply(context, tensors.output, tensors.input, micro, layer_index, dropout_forward);
  }

  void backward_input(Context& context, const BackwardInputTensors& tensors,
                      const MicroBatch& micro, std::uint32_t layer_index) const override {
    apply(context, tensors.input_grad, tensors.output_grad, micro, layer_index, dropout_backward);
  }

 private:
  template <typename Operation>
  void apply(Context& context, const Tensor& to, const Tensor& from, const MicroBatch& micro,
             std::uint32_t layer_index, const Operation& operation) const {
    check_tensor(context, "Dropout", "input", from, from.spec);
    check_tensor(context, "Dropout", "output", to, from.spec);
    const std::int64_t rows = from.shape()[0], columns = from.elements() / rows;
    if (p_ > 0.0f && micro.training) {
      const DropoutMask mask{.p = p_,
                             .seed = micro.seed,
                             .layer = layer_index,
                             .step = static_cast<std::uint32_t>(micro.step),
                             .first_sample = static_cast<std::uint32_t>(micro.first_sample)};
      operation(context, viewed(to, {rows, columns}), viewed(from, {rows, columns}), mask);
    } else if (to.data != from.data) {
      const Shape shape{rows, columns, 1, 1};  // equal formats: a copy
      permute_format(context, viewed(to, shape), viewed(from, shape));
    }
  }

  float p_;
};

}  // namespace

std::shared_ptr<const Layer> dropout_layer(float p) {
  return std::make_shared<Dropout>(p);
}

}  // namespace stagecoach
