#include "kernels/linear.h"

#include <algorithm>
#include <cmath>

#include "core/copy.h"
#include "core/error.h"
#include "layers/layer_text.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

// W of a few rows takes as long as the gradient takes to be read and written. It keeps its rows
// until there are so many, and multiplies them at once: on the CPU, each sum is the same chain.
constexpr std::int64_t kRowsOnCpu = 64, kRowsOnGpu = 512;
// Of so many micro-batches at most: a 32nd of reading and writing is little, and a split by time
// measures a whole group.
constexpr std::int64_t kMicroBatches = 32;

class Linear final : public Layer {
 public:
  Linear(std::int64_t in_features, std::int64_t out_features)
      : in_features_(in_features), out_features_(out_features) {
    STAGECOACH_CHECK(in_features >= 1 && out_features >= 1, "linear_layer", "features >= 1",
                     describe());
  }

  std::string describe() const override {
    return fmt::format("Linear({}, {})", in_features_, out_features_);
  }

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target& target) const override {
    const TensorSpec& input = single_input(*this, inputs);
    STAGECOACH_CHECK(input.shape.rank() == 2 && input.shape[0] >= 1 && is_floating(input.dtype) &&
                         input == row_major({input.shape[0], in_features_}, input.dtype),
                     "Linear", fmt::format("input F32 or BF16 [N, {}]", in_features_),
                     input.to_string());
    const float bound = static_cast<float>(1.0 / std::sqrt(static_cast<double>(in_features_)));
    LayerPlan plan;
    plan.inputs = {input};
    plan.outputs = {row_major({input.shape[0], out_features_}, input.dtype)};
    plan.parameters = {{"weight", row_major({out_features_, in_features_}), Init::uniform(bound)},
                       {"bias", row_major({out_features_}), Init::uniform(bound)}};
    const TensorSpec weight = row_major({out_features_, in_features_}, input.dtype);
    plan.workspace_bytes = linear_workspace_bytes(input, weight, target);
    plan.inputs_needed_by_weight = true;
    const bool on_cpu = target.device.type == DeviceType::kCpu;
    const std::int64_t group =
        std::min((on_cpu ? kRowsOnCpu : kRowsOnGpu) / input.shape[0], kMicroBatches);
    if (group > 1) {
      plan.weight_group = group;
      for (const std::int64_t features : {in_features_, out_features_}) {
        plan.weight_state.push_back(row_major({group * input.shape[0], features}, input.dtype));
      }
    }
    if (group > 1 && !on_cpu) {  // where W needs memory, too
      plan.workspace_bytes = linear_workspace_bytes(plan.weight_state[0], weight, target);
    }
    plan.multiply_adds = input.shape[0] * in_features_ * out_features_;
    plan.kind = LayerKind::kLinear;
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan& plan, const LayerCall& call) const override {
    linear_forward(context, call.outputs[0], call.inputs[0], call.parameters[0], call.parameters[1],
                   plan.fused.activation);
  }

  void backward_input_impl(Context& context, const LayerPlan&,
                           const LayerCall& call) const override {
    linear_backward_input(context, call.input_grads[0], call.output_grads[0], call.parameters[0]);
  }

  void backward_weight_impl(Context& context, const LayerPlan& plan,
                            const LayerCall& call) const override {
    Tensor input = call.inputs[0], output_grad = call.output_grads[0];
    GradientMode mode = call.mode();
    if (plan.weight_group > 1) {
      const std::int64_t slot = call.weight_calls % plan.weight_group;
      const std::int64_t rows = input.shape()[0];
      keep(context, call.weight_state[0], slot, input);
      keep(context, call.weight_state[1], slot, output_grad);
      if (slot + 1 < plan.weight_group && !call.last_weight) return;
      input = rows_of(call.weight_state[0], 0, (slot + 1) * rows);
      output_grad = rows_of(call.weight_state[1], 0, (slot + 1) * rows);
      if (slot == call.weight_calls) mode = GradientMode::kOverwrite;  // the step's first group
    }
    linear_backward_weight(context, call.parameter_grads[0], call.parameter_grads[1], output_grad,
                           input, mode);
  }

 private:
  static void keep(Context& context, const Tensor& kept, std::int64_t slot, const Tensor& rows) {
    const std::int64_t count = rows.shape()[0];
    copy(context.stream(), rows_of(kept, slot * count, count), rows);
  }

  std::int64_t in_features_, out_features_;
};

}  // namespace

std::shared_ptr<const Layer> linear_layer(std::int64_t in_features, std::int64_t out_features) {
  return std::make_shared<Linear>(in_features, out_features);
}

}  // namespace stagecoach
