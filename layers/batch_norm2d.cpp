#include "kernels/batch_norm2d.h"

#include "core/copy.h"
#include "layers/layer_text.h"
#include "layers/layers.h"

namespace stagecoach {
namespace {

class BatchNorm2d final : public Layer {
 public:
  BatchNorm2d(std::int64_t features, const BatchNorm2dOptions& options)
      : features_(features), options_(options) {
    STAGECOACH_CHECK(features >= 1, "batch_norm2d_layer", "features >= 1", describe());
    STAGECOACH_CHECK(options.eps > 0 && options.momentum >= 0 && options.momentum <= 1,
                     "batch_norm2d_layer", "eps > 0 and momentum from 0 to 1",
                     fmt::format("eps {}, momentum {}", options.eps, options.momentum));
  }

  std::string describe() const override { return fmt::format("BatchNorm2d({})", features_); }

  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    const TensorSpec& input = single_input(*this, inputs);
    STAGECOACH_CHECK(input.shape.rank() == 4 && is_floating(input.dtype) &&
                         input.format == MemoryFormat::kChannelsLast &&
                         input.shape[1] == features_ && input.elements() > 0,
                     "BatchNorm2d",
                     fmt::format("input F32 or BF16 [N, {}, H, W] channels_last", features_),
                     input.to_string());
    const TensorSpec channel = row_major({features_});
    LayerPlan plan;
    plan.inputs = {input};
    plan.outputs = {input};
    plan.parameters = {{"weight", channel, Init::constant(1)},
                       {"bias", channel, Init::constant(0)}};
    plan.buffers = {{"running_mean", channel, Init::constant(0)},
                    {"running_var", channel, Init::constant(1)}};
    plan.saved = {channel, channel};       // mean and variance
    plan.step_state = {channel, channel};  // the same
    plan.workspace_bytes = batch_norm2d_workspace_bytes(input);
    plan.inputs_needed_by_input = plan.inputs_needed_by_weight = true;
    return plan;
  }

 protected:
  void forward_impl(Context& context, const LayerPlan&, const LayerCall& call) const override {
    Tensor mean = call.buffers[0], variance = call.buffers[1];
    if (call.micro.training) {
      mean = call.saved[0];
      variance = call.saved[1];
      batch_norm2d_statistics(context, mean, variance, call.inputs[0]);
      if (!call.recompute) {
        copy(context.stream(), call.step_state[0], mean);
        copy(context.stream(), call.step_state[1], variance);
      }
    }
    batch_norm2d_forward(context, call.outputs[0], call.inputs[0], mean, variance,
                         call.parameters[0], call.parameters[1], options_.eps);
  }

  void backward_input_impl(Context& context, const LayerPlan&,
                           const LayerCall& call) const override {
    batch_norm2d_backward_input(context, call.input_grads[0], call.output_grads[0], call.inputs[0],
                                call.saved[0], call.saved[1], call.parameters[0], options_.eps);
  }

  void backward_weight_impl(Context& context, const LayerPlan&,
                            const LayerCall& call) const override {
    batch_norm2d_backward_weight(context, call.parameter_grads[0], call.parameter_grads[1],
                                 call.output_grads[0], call.inputs[0], call.saved[0], call.saved[1],
                                 options_.eps, call.mode());
  }

  void end_step_impl(Context& context, const LayerPlan& plan,
                     const LayerCall& call) const override {
    batch_norm2d_update(context, call.buffers[0], call.buffers[1], call.step_state[0],
                        call.step_state[1], plan.inputs[0].elements() / features_,
                        options_.momentum);
  }

 private:
  std::int64_t features_;
  BatchNorm2dOptions options_;
};

}  // namespace

std::shared_ptr<const Layer> batch_norm2d_layer(std::int64_t features,
                                                const BatchNorm2dOptions& options) {
  return std::make_shared<BatchNorm2d>(features, options);
}

}  // namespace stagecoach
