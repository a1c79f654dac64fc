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

// After forward(), memory that backward may not read by the plan is poisoned, so a plan that
// forgets something shows as NaN in the gradients.
class LayerRun {
 public:
  LayerRun(std::shared_ptr<const Layer> run_layer, const TensorSpec& input_spec, int threads = 2,
           bool run_in_place = false, std::uint64_t seed = 1)
      : layer(std::move(run_layer)),
        plan(layer->plan(input_spec, threads)),
        x(random_tensor(plan.input, seed)),
        g(random_tensor(plan.output, seed + 1000)),
        y(plan.output),
        dx(plan.input),
        in_place_(run_in_place),
        threads_(threads),
        first_(plan.input),
        second_(plan.output) {
    for (const ParameterSpec& parameter : plan.parameters) {
      parameters.push_back(random_tensor(parameter.spec, 50 + parameters.size()));
      parameter_grads.emplace_back(parameter.spec);
      poison(parameter_grads.back().tensor);
    }
    for (const TensorSpec& spec : plan.saved) {
      saved_.emplace_back(spec);
      poison(saved_.back().tensor);
    }
  }

  // F of `x` gives `y`.
  void forward(const MicroBatch& micro = {}) {
    const Tensor output = in_place_ ? first_.tensor : second_.tensor;
    if (!in_place_) poison(output);
    copy(first_.tensor, x.tensor);
    const std::vector<Tensor> weights = views(parameters), saved = views(saved_);
    run_on_context(threads_, plan.workspace_bytes, [&](Context& context) {
      begin_step(context, {.step = micro.step});
      layer->forward(context, {output, first_.tensor, weights, saved}, micro, kLayerIndex);
    });
    copy(y.tensor, output);
    if (!plan.output_needed_by_input) poison(output);
    if (!plan.input_needed_by_weight && !in_place_) poison(first_.tensor);
  }

  // B and W of `g` give `dx` and, in `grads`, the parameters' gradients.
  void backward(const std::vector<OwnedTensor>& grads, const MicroBatch& micro = {},
                GradientMode mode = GradientMode::kOverwrite) {
    const OwnedTensor output_grad = copy_of(g.tensor), other(plan.input);
    const Tensor input_grad = in_place_ ? output_grad.tensor : other.tensor;
    if (!in_place_) poison(input_grad);
    const Tensor output = in_place_ ? first_.tensor : second_.tensor;
    const std::vector<Tensor> weights = views(parameters), saved = views(saved_);
    const std::vector<Tensor> weight_grads = views(grads);
    run_on_context(threads_, plan.workspace_bytes, [&](Context& context) {
      begin_step(context, {.step = micro.step});
      layer->backward_input(context,
                            {input_grad, output_grad.tensor,
                             plan.output_needed_by_input ? output : Tensor{}, weights, saved},
                            micro, kLayerIndex);
      layer->backward_weight(context,
                             {weight_grads, output_grad.tensor,
                              plan.input_needed_by_weight ? first_.tensor : Tensor{}, mode});
    });
    copy(dx.tensor, input_grad);
  }

  void run(const MicroBatch& micro = {}) {
    forward(micro);
    backward(parameter_grads, micro);
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
  std::vector<OwnedTensor> parameters, parameter_grads;

 private:
  bool in_place_;
  int threads_;
  OwnedTensor first_, second_;  // the layer's input; its output where that has its own memory
  std::vector<OwnedTensor> saved_;
};

}  // namespace stagecoach::testing
