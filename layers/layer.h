// The layer contract. A layer is an immutable description; its tensors are passed in, so any number
// of micro-batches can be in flight through one layer object.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/context.h"
#include "kernels/activation.h"
#include "kernels/gradient_mode.h"
#include "layers/init.h"

namespace stagecoach {

// One parameter of a layer: F32, learned.
struct ParameterSpec {
  std::string name;  // "weight", "bias"
  TensorSpec spec;
  Init init;
  // The whole parameter, of which a layer may hold a slice: its shape, and where the slice lies.
  // Rank 0: it holds the whole.
  Shape global = {};
  SliceOffset offset = {};
};

// State of a layer that is no parameter, such as running statistics: F32, kept with the weights,
// changed by end_step() alone.
struct BufferSpec {
  std::string name;  // "running_mean"
  TensorSpec spec;
  Init init;
};

// What fuse() knows a layer by.
enum class LayerKind : std::uint8_t { kOther, kConv2d, kLinear, kRelu, kMaxPool2d };

// What neighbours do of each other's work. Set by fuse() from the network alone, so it does not
// depend on how the network is split.
struct Fusion {
  Activation activation = Activation::kNone;  // F applies the ReLU that follows, too
  bool input_from_relu = false;   // B is that of the ReLU before, too (see MaxPool2dInput)
  bool forward_is_copy = false;   // F has nothing to do but to copy
  bool backward_is_copy = false;  // B likewise
};

// What a layer needs, for one micro-batch of inputs of these specs. Made without memory or device.
// What is left out of its initialiser is empty, false or 0.
struct LayerPlan {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;  // at least one
  std::vector<ParameterSpec> parameters = {};
  std::vector<BufferSpec> buffers = {};
  std::vector<TensorSpec> saved = {};  // made by F, kept until B and W have run
  // What F leaves of each micro-batch of a training step for end_step(), F32.
  std::vector<TensorSpec> step_state = {};
  // Forms of the parameters that F and B read, made by prepare() once a step, F32.
  std::vector<TensorSpec> prepared = {};
  // What W leaves of the micro-batches of a step until the last W makes the gradients of it.
  std::vector<TensorSpec> weight_state = {};
  // Every so many micro-batches W does the work of all of them, at the last.
  std::int64_t weight_group = 1;
  std::int64_t workspace_bytes = 0;      // the most that F, B, W or end_step use
  bool in_place = false;                 // outputs[0] may be inputs[0]'s memory, and likewise the
                                         // gradients
  bool inputs_needed_by_input = false;   // B reads the inputs
  bool inputs_needed_by_weight = false;  // W reads the inputs
  bool outputs_needed_by_input = false;  // B reads the outputs
  // inputs[0]'s gradient is saved[0], made by F: B has nothing to do. (A loss.)
  bool saved_is_input_grad = false;
  std::vector<bool> differentiable = {};  // by input: has a gradient; empty: all have
  std::int64_t multiply_adds = 0;  // of F by its definition; B has as many, and W; 0: next to none
  LayerKind kind = LayerKind::kOther;
  Fusion fused = {};

  bool has_gradient(std::size_t input) const {
    return differentiable.empty() || differentiable.at(input);
  }
};

// Which micro-batch runs: all that dropout may depend on.
struct MicroBatch {
  std::uint64_t seed = 0;
  std::int64_t step = 0;          // training step, from 0
  std::int64_t index = 0;         // of the micro-batch in the step, from 0
  std::int64_t first_sample = 0;  // of the micro-batch's first row in the global batch
  std::int64_t batch = 0;         // samples of the global batch: losses are means over them
  bool training = true;

  // How many of the micro-batch's `rows` are samples: the others fill up a batch that is not full.
  std::int64_t samples_of(std::int64_t rows) const {
    return std::clamp<std::int64_t>(batch - first_sample, 0, rows);
  }
};

// The tensors of one call, in the plan's order. What a pass does not need by the plan is undefined
// or left out.
struct LayerCall {
  std::span<const Tensor> inputs;   // F; B and W where they need them
  std::span<const Tensor> outputs;  // F writes them; B where it needs them
  // B writes those that are defined: nobody needs the others. B and W read those of the outputs.
  std::span<const Tensor> input_grads, output_grads;
  std::span<const Tensor> parameters;  // in the dtype of the inputs
  std::span<const Tensor> parameter_grads;
  std::span<const Tensor> saved;
  std::span<const Tensor> buffers;
  std::span<const Tensor> prepared;      // prepare() writes them; F and B read them
  std::span<const Tensor> weight_state;  // of W alone
  // F: of this micro-batch. end_step: of all of them, as [micro-batches, elements].
  std::span<const Tensor> step_state;
  MicroBatch micro;
  std::uint32_t layer = 0;  // index in the network
  bool recompute = false;   // F a second time: step_state has been written, and is left out
  // W: how many ran before it in this step, to whose gradients it adds; and whether it is the last.
  std::int64_t weight_calls = 0;
  bool last_weight = true;

  GradientMode mode() const {
    return weight_calls == 0 ? GradientMode::kOverwrite : GradientMode::kAccumulate;
  }
};

class Layer {
 public:
  virtual ~Layer() = default;

  // Kind and options, for people: "Conv2d(3, 64, kernel 11x11, stride 4, padding 2)".
  virtual std::string describe() const = 0;

  // Throws Error naming the layer's kind when the inputs do not fit. `target`: what will run it
  // (the workspace depends on it). Activations and gradients have the inputs' dtype; parameters and
  // their gradients are F32, and where the inputs are BF16 the operations get BF16 copies of them.
  virtual LayerPlan plan(std::span<const TensorSpec> inputs, const Target& target) const = 0;

  // Before the first F of a step: what F and B read of the parameters as they are now. B is wanted
  // in training only.
  void prepare(Context& context, const LayerPlan& plan, const LayerCall& call) const;
  // These check every tensor of the call, its spec and its device, against `plan`, which is this
  // layer's; throw Error naming describe() and the tensor; and enqueue on the context's stream.
  void forward(Context& context, const LayerPlan& plan, const LayerCall& call) const;
  // B: the gradients with respect to the inputs. Nothing where nobody needs any.
  void backward_input(Context& context, const LayerPlan& plan, const LayerCall& call) const;
  // W: the gradients of the parameters, complete when the last one of a step has run.
  void backward_weight(Context& context, const LayerPlan& plan, const LayerCall& call) const;
  // Once after the last W of a training step: what the micro-batches left in step_state goes into
  // the buffers. Without the parameters, which the optimizer may be at already.
  void end_step(Context& context, const LayerPlan& plan, const LayerCall& call) const;

 protected:
  // A loss ends the network: nobody gives it gradients.
  virtual bool outputs_have_gradients() const { return true; }
  virtual void forward_impl(Context& context, const LayerPlan& plan,
                            const LayerCall& call) const = 0;
  virtual void backward_input_impl(Context& context, const LayerPlan& plan,
                                   const LayerCall& call) const = 0;
  // Layers that plan nothing for these have nothing to do.
  virtual void prepare_impl(Context& context, const LayerPlan& plan, const LayerCall& call) const;
  virtual void backward_weight_impl(Context& context, const LayerPlan& plan,
                                    const LayerCall& call) const;
  virtual void end_step_impl(Context& context, const LayerPlan& plan, const LayerCall& call) const;
};

}  // namespace stagecoach
