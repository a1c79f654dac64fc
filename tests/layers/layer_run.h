// Runs one layer on one micro-batch as a stage does: with the memory that its plan asks for, and
// nothing else.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "kernels/step.h"
#include "layers/layer.h"
#include "tests/kernels/tensors.h"

namespace stagecoach::testing {

inline constexpr std::uint32_t kLayerIndex = 7;

// NaN in every element that nobody wrote.
inline void poison(const Tensor& tensor) {
  std::memset(tensor.data, 0xFF, static_cast<std::size_t>(tensor.bytes()));
}

inline void copy(const Tensor& to, const Tensor& from) {
  std::memcpy(to.data, from.data, static_cast<std::size_t>(from.bytes()));
}

inline std::vector<Tensor> views(const std::vector<OwnedTensor>& owned) {
  std::vector<Tensor> result;
  for (const OwnedTensor& one : owned) result.push_back(one.tensor);
  return result;
}

inline std::vector<OwnedTensor> poisoned(const std::vector<TensorSpec>& specs) {
  std::vector<OwnedTensor> tensors;
  for (const TensorSpec& spec : specs) poison(tensors.emplace_back(spec).tensor);
  return tensors;
}

// Of a layer with one input.
inline LayerPlan plan_of(const std::shared_ptr<const Layer>& layer, const TensorSpec& input,
                         const Target& target) {
  return layer->plan(std::span(&input, 1), target);
}

// After forward(), memory that backward may not read by the plan is poisoned, so a plan that
// forgets something shows as NaN in the gradients. `x` and `dx` are of the first input; others have
// the same spec.
class LayerRun {
 public:
  LayerRun(std::shared_ptr<const Layer> run_layer, const TensorSpec& input_spec, int threads = 2,
           bool run_in_place = false, std::uint64_t seed = 1, int inputs = 1)
      : layer(std::move(run_layer)),
        plan(layer->plan(std::vector<TensorSpec>(inputs, input_spec), threads)),
        x(random_tensor(plan.inputs[0], seed)),
        g(random_tensor(plan.outputs[0], seed + 1000)),
        y(plan.outputs[0]),
        dx(plan.inputs[0]),
        in_place_(run_in_place),
        threads_(threads),
        first_(plan.inputs[0]),
        second_(plan.outputs[0]),
        saved_(poisoned(plan.saved)) {
    for (const ParameterSpec& parameter : plan.parameters) {
      parameters.push_back(random_tensor(parameter.spec, 50 + parameters.size()));
      parameter_grads.emplace_back(parameter.spec);
      poison(parameter_grads.back().tensor);
    }
    for (const BufferSpec& buffer : plan.buffers) {
      buffers.push_back(filled_tensor(buffer.spec, buffer.init.a));
    }
    for (const TensorSpec& spec : plan.step_state) step_state.emplace_back(spec);
    for (const TensorSpec& spec : plan.prepared) prepared_.emplace_back(spec);
    weight_state_ = poisoned(plan.weight_state);
    for (int i = 1; i < inputs; ++i) {
      other_x.push_back(random_tensor(input_spec, seed + 2000 + static_cast<std::uint64_t>(i)));
      other_dx.emplace_back(input_spec);
    }
  }

  // F of `x` gives `y`.
  void forward(const MicroBatch& micro = {}) {
    const Tensor output = in_place_ ? first_.tensor : second_.tensor;
    if (!in_place_) poison(output);
    copy(first_.tensor, x.tensor);
    run(micro, [&](Context& context, LayerCall& call) {
      const std::vector<Tensor> inputs = with_others(first_.tensor, other_x);
      const std::vector<Tensor> state = views(step_state);
      call.inputs = inputs;
      call.outputs = std::span(&output, 1);
      call.step_state = state;
      layer->forward(context, plan, call);
    });
    copy(y.tensor, output);
    if (!plan.outputs_needed_by_input) poison(output);
    if (!needs_inputs() && !in_place_) poison(first_.tensor);
  }

  // B and W of `g` give `dx` and, in `step`, the parameters' gradients of it and of the `calls`
  // runs before it in the same step.
  void backward(LayerRun& step, const MicroBatch& micro = {}, std::int64_t calls = 0,
                bool last = true) {
    const OwnedTensor output_grad = copy_of(g.tensor), other(plan.inputs[0]);
    const Tensor input_grad = in_place_ ? output_grad.tensor : other.tensor;
    if (!in_place_) poison(input_grad);
    const Tensor output = in_place_ ? first_.tensor : second_.tensor;
    run(micro, [&](Context& context, LayerCall& call) {
      const std::vector<Tensor> inputs = with_others(first_.tensor, other_x);
      const std::vector<Tensor> input_grads = with_others(input_grad, other_dx);
      const std::vector<Tensor> weight_grads = views(step.parameter_grads);
      const std::vector<Tensor> weight_state = views(step.weight_state_);
      call.output_grads = std::span(&output_grad.tensor, 1);
      call.input_grads = input_grads;
      if (plan.inputs_needed_by_input) call.inputs = inputs;
      if (plan.outputs_needed_by_input) call.outputs = std::span(&output, 1);
      layer->backward_input(context, plan, call);
      call.input_grads = call.outputs = call.inputs = {};
      if (plan.inputs_needed_by_weight) call.inputs = inputs;
      call.parameter_grads = weight_grads;
      call.weight_state = weight_state;
      call.weight_calls = calls;
      call.last_weight = last;
      layer->backward_weight(context, plan, call);
    });
    copy(dx.tensor, input_grad);
  }

  void run(const MicroBatch& micro = {}) {
    forward(micro);
    backward(*this, micro);
  }

  // y, dx and the gradients of the parameters, to compare bit by bit.
  std::vector<std::uint8_t> bytes() const {
    std::vector<std::uint8_t> all = bytes_of(y.tensor);
    std::vector<Tensor> rest = views(parameter_grads);
    rest.insert(rest.begin(), dx.tensor);
    for (const Tensor& tensor : rest) {
      const std::vector<std::uint8_t> bytes = bytes_of(tensor);
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }

  const std::shared_ptr<const Layer> layer;
  const LayerPlan plan;
  OwnedTensor x, g, y, dx;
  std::vector<OwnedTensor> parameters, parameter_grads, buffers, step_state;
  std::vector<OwnedTensor> other_x, other_dx;

 private:
  bool needs_inputs() const { return plan.inputs_needed_by_weight || plan.inputs_needed_by_input; }
  static std::vector<Tensor> with_others(const Tensor& first,
                                         const std::vector<OwnedTensor>& others) {
    std::vector<Tensor> all = views(others);
    all.insert(all.begin(), first);
    return all;
  }

  // body(context, call with what all passes get).
  template <typename Body>
  void run(const MicroBatch& micro, const Body& body) {
    const std::vector<Tensor> weights = views(parameters), saved = views(saved_);
    const std::vector<Tensor> state = views(buffers), forms = views(prepared_);
    run_on_context(threads_, plan.workspace_bytes, [&](Context& context) {
      begin_step(context, {.step = micro.step});
      LayerCall call;
      call.parameters = weights;
      call.saved = saved;
      call.buffers = state;
      call.micro = micro;
      call.layer = kLayerIndex;
      call.prepared = forms;
      call.micro.training = true;  // B is wanted, too
      layer->prepare(context, plan, call);
      call.micro = micro;
      body(context, call);
      context.stream().synchronize();  // before the views go
    });
  }

  bool in_place_;
  int threads_;
  OwnedTensor first_, second_;  // the layer's input; its output where that has its own memory
  std::vector<OwnedTensor> saved_, prepared_, weight_state_;
};

}  // namespace stagecoach::testing
