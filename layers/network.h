// Network: layers in execution order, the values between them, and a loss.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "layers/fuse.h"
#include "layers/loss.h"

namespace stagecoach {

struct NamedLayer {
  // As torchvision names it: "features.0"; empty where PyTorch has no module. Not "input", and
  // without a colon: see `inputs`.
  std::string name;
  std::shared_ptr<const Layer> layer;
  // What it reads: "input" (of the network), the name of an earlier layer for its first output, or
  // "name:1" for its second. Empty: the first output of the layer before.
  std::vector<std::string> inputs = {};
};

// One parameter or buffer of a network under its full name.
struct NamedParameter {
  std::string name;  // "features.0.weight"
  int layer = 0;     // index of its layer
  ParameterSpec spec;
};

class Network {
 public:
  using Value = ValueId;

  // Throws Error when `layers` is empty, two share a name that is not empty, a name could be taken
  // for another's input, an input is no earlier layer, or nobody reads what a layer makes (but the
  // last, whose first output the loss reads).
  Network(std::string name, std::vector<NamedLayer> layers,
          std::shared_ptr<const Loss> loss = softmax_cross_entropy_loss());

  const std::string& name() const { return name_; }
  int size() const { return static_cast<int>(layers_.size()); }  // without the loss
  const NamedLayer& operator[](int i) const { return layers_.at(static_cast<std::size_t>(i)); }
  const Loss& loss() const { return *loss_; }
  // The layer, or for size() the loss.
  const Layer& layer(int i) const { return i == size() ? *loss_ : *(*this)[i].layer; }
  // What layer `i` reads, in its order.
  const std::vector<Value>& inputs_of(int i) const {
    return inputs_.at(static_cast<std::size_t>(i));
  }
  // The message across a cut in front of layer `first`: what was made before it and is read from it
  // on, ascending. In front of layer 0 it is the input.
  std::vector<Value> alive_at(int first) const;

  // size() + 1 plans: one for each layer for an input of this spec, after fuse(), and the loss's.
  // An error names the layer ("features.3 (Conv2d ...)") and is thrown before anything runs.
  std::vector<LayerPlan> plan(const TensorSpec& input, const Target& target) const;

 private:
  Value resolve(int layer, const std::string& input) const;
  void check_read() const;

  std::string name_;
  std::vector<NamedLayer> layers_;
  std::shared_ptr<const Loss> loss_;
  std::vector<std::vector<Value>> inputs_;  // by layer
};

// All parameters in order, with full names. Parameter i of the network is initialised from
// RandomStream{seed, kInitialWeights, layer = i}, whatever stage it is on. `plans`: of plan().
// Throws Error when a layer with parameters or buffers has no name, or a plan is missing.
std::vector<NamedParameter> parameters_of(const Network& network,
                                          const std::vector<LayerPlan>& plans);

// torchvision.models.alexnet(num_classes): 22 layers (features 0-12, avgpool, flatten,
// classifier 0-6), 57,044,810 parameters at 10 classes. `dropout` and
// `label_smoothing`, of its loss, in [0, 1).
Network make_alexnet(int num_classes = 10, float dropout = 0.5f, float label_smoothing = 0);

}  // namespace stagecoach
