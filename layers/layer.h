// The layer contract. A layer is an immutable description; its tensors are passed in, so any number
// of micro-batches can be in flight through one layer object.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/context.h"
#include "kernels/activation.h"
#include "kernels/gradient_mode.h"

namespace stagecoach {

// One parameter of a layer. Its initial values are uniform in [-init_bound, init_bound).
struct ParameterSpec {
  std::string name;  // "weight", "bias"
  TensorSpec spec;
  float init_bound = 0.0f;
};

// What a layer needs, for one micro-batch of one input spec. Made without memory or device.
struct LayerPlan {
  TensorSpec input;
  TensorSpec output;
  std::vector<ParameterSpec> parameters;
  std::vector<TensorSpec> saved;     // made by forward, kept until B and W have run
  std::int64_t workspace_bytes = 0;  // the most that forward, B or W use
  bool in_place = false;             // output may be the input's memory, and likewise the gradients
  bool input_needed_by_weight = false;  // W reads the input
  bool output_needed_by_input = false;  // B reads the output
  bool forward_is_copy = false;         // F has nothing to do but to copy
  bool backward_is_copy = false;        // B likewise

  // What a neighbour does of this layer's work, and the other way round; set by Network::plan from
  // the network alone, so it does not depend on how the network is split. The neighbour's part has
  // become a copy.
  Activation activation = Activation::kNone;  // F applies the ReLU that follows, too
  bool input_from_relu = false;  // B is that of the ReLU before, too (see MaxPool2dInput)
};

// Which micro-batch runs: all that dropout may depend on.
struct MicroBatch {
  std::uint64_t seed = 0;
  std::int64_t step = 0;          // training step, from 0
  std::int64_t index = 0;         // of the micro-batch in the step, from 0
  std::int64_t first_sample = 0;  // of the micro-batch's first row in the global batch
  bool training = true;
};

struct ForwardTensors {
  Tensor output, input;
  std::span<const Tensor> parameters;         // in the plan's order
  std::span<const Tensor> saved;              // in the plan's order
  Activation activation = Activation::kNone;  // of the plan
  bool input_from_relu = false;               // of the plan
};
struct BackwardInputTensors {
  Tensor input_grad, output_grad;
  Tensor output;  // defined when output_needed_by_input
  std::span<const Tensor> parameters;
  std::span<const Tensor> saved;
};
struct BackwardWeightTensors {
  std::span<const Tensor> parameter_grads;  // in the plan's order
  Tensor output_grad, input;                // input is defined when input_needed_by_weight
  GradientMode mode = GradientMode::kOverwrite;
};

class Layer {
 public:
  virtual ~Layer() = default;

  // Kind, for people: "Conv2d(3, 64, kernel 11x11, stride 4, padding 2)".
  virtual std::string describe() const = 0;

  // Throws Error naming the layer's kind when the input does not fit. `target`: what will run it
  // (the workspace depends on it). Activations and gradients have the input's dtype; parameters and
  // their gradients are F32, and where the input is BF16 the operations get BF16 copies of them.
  virtual LayerPlan plan(const TensorSpec& input, const Target& target) const = 0;

  // Whether the layer is a ReLU; whether its forward can apply one that follows; whether its
  // backward can be that of one before too.
  virtual bool is_relu() const { return false; }
  virtual bool fuses_relu_after(const Target&) const { return false; }
  virtual bool fuses_relu_before(const Target&) const { return false; }

  // Enqueue on the context's stream. The operations they call check every tensor.
  virtual void forward(Context& context, const ForwardTensors& tensors, const MicroBatch& micro,
                       std::uint32_t layer_index) const = 0;
  // B: the gradient with respect to the input.
  virtual void backward_input(Context& context, const BackwardInputTensors& tensors,
                              const MicroBatch& micro, std::uint32_t layer_index) const = 0;
  // W: the gradients of the parameters. Layers without parameters do nothing.
  virtual void backward_weight(Context& context, const BackwardWeightTensors& tensors) const;
};

}  // namespace stagecoach
