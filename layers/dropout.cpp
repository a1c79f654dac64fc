#include "kernels/dropout.h"

#include "core/error.h"
#include "kernels/permute.h"
#include "layers/layer_text.h"
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

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    const TensorSpec& input = single_input(*this, inputs);
    STAGECOACH_CHECK(is_floating(input.dtype) && input.shape.rank() >= 1 && input.elements() > 0,
                     "Dropout", "input F32 or BF16 of rank >= 1, not empty", input.to_string());
    LayerPlan plan;
    plan.inputs = {input};
    plan.outputs = {input};
    plan.in_place = true;
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan&, const LayerCall& call) const override {
    apply(context, call.outputs[0], call.inputs[0], call, dropout_forward);
  }

  void backward_input_impl(Context& context, const LayerPlan&,
                           const LayerCall& call) const override {
    apply(context, call.input_grads[0], call.output_grads[0], call, dropout_backward);
  }

 private:
  template <typename Operation>
  void apply(Context& context, const Tensor& to, const Tensor& from, const LayerCall& call,
             const Operation& operation) const {
    const std::int64_t rows = from.shape()[0], columns = from.elements() / rows;
    if (p_ > 0.0f && call.micro.training) {
      const DropoutMask mask{.p = p_,
                             .seed = call.micro.seed,
                             .layer = call.layer,
                             .first_sample = static_cast<std::uint32_t>(call.micro.first_sample)};
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
