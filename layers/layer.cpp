#include "layers/layer.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace stagecoach {
namespace {

// Checks the tensors of one call; errors begin with the layer's description.
class CallCheck {
 public:
  CallCheck(const Layer& layer, const Context& context) : layer_(layer), context_(context) {}

  // One tensor for each spec. `optional`: those that are undefined are not wanted.
  void tensors(const char* what, std::span<const Tensor> tensors, std::span<const TensorSpec> specs,
               bool optional = false) const {
    count(what, tensors.size(), specs.size());
    for (std::size_t i = 0; i < specs.size(); ++i) {
      if (optional && !tensors[i].defined()) continue;
      tensor(what, i, tensors[i], specs[i]);
    }
  }

  // `dtype`: what the layer computes in; gradients stay F32.
  void parameters(const char* what, std::span<const Tensor> tensors, const LayerPlan& plan,
                  DType dtype) const {
    count(what, tensors.size(), plan.parameters.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      TensorSpec spec = plan.parameters[i].spec;
      spec.dtype = dtype;
      tensor(what, i, tensors[i], spec);
    }
  }

  void buffers(std::span<const Tensor> tensors, const LayerPlan& plan) const {
    count("buffers", tensors.size(), plan.buffers.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      tensor("buffers", i, tensors[i], plan.buffers[i].spec);
    }
  }

  // [micro-batches, ...] of the plan's [...].
  void stacked(std::span<const Tensor> tensors, const LayerPlan& plan) const {
    count("step_state", tensors.size(), plan.step_state.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const TensorSpec& each = plan.step_state[i];
      const bool whole = each.elements() > 0 && tensors[i].elements() % each.elements() == 0 &&
                         tensors[i].shape().rank() == 2;
      if (whole && tensors[i].spec.dtype == each.dtype) {
        tensor("step_state", i, tensors[i], tensors[i].spec);
      } else {
        fail(fmt::format("step_state[{}] of micro-batches of {}", i, each.to_string()),
             tensors[i].spec.to_string());
      }
    }
  }

 private:
  [[noreturn]] void fail(std::string expected, std::string got) const {
    throw Error(layer_.describe(), std::move(expected), std::move(got));
  }

  void count(const char* what, std::size_t given, std::size_t planned) const {
    if (given != planned) fail(fmt::format("{} {}", planned, what), fmt::format("{}", given));
  }

  void tensor(const char* what, std::size_t i, const Tensor& tensor, const TensorSpec& spec) const {
    const auto expected = [&] {
      return fmt::format("{}[{}] {} on {}", what, i, spec.to_string(),
                         context_.device().to_string());
    };
    if (!tensor.defined()) fail(expected(), "no memory");
    if (tensor.spec == spec && tensor.device == context_.device()) return;
    fail(expected(), fmt::format("{} on {}", tensor.spec.to_string(), tensor.device.to_string()));
  }

  const Layer& layer_;
  const Context& context_;
};

// Of the layer's operations.
DType compute_dtype(const LayerPlan& plan) {
  return plan.inputs.empty() ? DType::kF32 : plan.inputs[0].dtype;
}

}  // namespace

void Layer::prepare(Context& context, const LayerPlan& plan, const LayerCall& call) const {
  if (plan.prepared.empty()) return;
  const CallCheck check(*this, context);
  check.parameters("parameters", call.parameters, plan, compute_dtype(plan));
  check.tensors("prepared", call.prepared, plan.prepared);
  prepare_impl(context, plan, call);
}

void Layer::forward(Context& context, const LayerPlan& plan, const LayerCall& call) const {
  const CallCheck check(*this, context);
  check.tensors("inputs", call.inputs, plan.inputs);
  check.tensors("outputs", call.outputs, plan.outputs);
  check.parameters("parameters", call.parameters, plan, compute_dtype(plan));
  check.tensors("saved", call.saved, plan.saved);
  check.buffers(call.buffers, plan);
  check.tensors("prepared", call.prepared, plan.prepared);
  if (call.micro.training && !call.recompute) {
    check.tensors("step_state", call.step_state, plan.step_state);
  }
  forward_impl(context, plan, call);
}

void Layer::backward_input(Context& context, const LayerPlan& plan, const LayerCall& call) const {
  const CallCheck check(*this, context);
  check.tensors("input_grads", call.input_grads, plan.inputs, true);
  if (std::ranges::none_of(call.input_grads, &Tensor::defined)) return;
  if (outputs_have_gradients()) {
    check.tensors("output_grads", call.output_grads, plan.outputs);
  }
  if (plan.inputs_needed_by_input) check.tensors("inputs", call.inputs, plan.inputs);
  if (plan.outputs_needed_by_input) check.tensors("outputs", call.outputs, plan.outputs);
  check.parameters("parameters", call.parameters, plan, compute_dtype(plan));
  check.tensors("saved", call.saved, plan.saved);
  check.tensors("prepared", call.prepared, plan.prepared);
  backward_input_impl(context, plan, call);
}

void Layer::backward_weight(Context& context, const LayerPlan& plan, const LayerCall& call) const {
  if (plan.parameters.empty()) return;
  const CallCheck check(*this, context);
  check.parameters("parameter_grads", call.parameter_grads, plan, DType::kF32);
  check.tensors("output_grads", call.output_grads, plan.outputs);
  if (plan.inputs_needed_by_weight) check.tensors("inputs", call.inputs, plan.inputs);
  check.tensors("saved", call.saved, plan.saved);
  check.tensors("weight_state", call.weight_state, plan.weight_state);
  backward_weight_impl(context, plan, call);
}

void Layer::end_step(Context& context, const LayerPlan& plan, const LayerCall& call) const {
  if (plan.buffers.empty() && plan.step_state.empty()) return;
  const CallCheck check(*this, context);
  check.buffers(call.buffers, plan);
  check.stacked(call.step_state, plan);
  end_step_impl(context, plan, call);
}

void Layer::prepare_impl(Context&, const LayerPlan&, const LayerCall&) const {}

void Layer::backward_weight_impl(Context&, const LayerPlan&, const LayerCall&) const {}

void Layer::end_step_impl(Context&, const LayerPlan&, const LayerCall&) const {}

}  // namespace stagecoach
