// Network: a list of named layers, each fed by the one before.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "layers/layer.h"

namespace stagecoach {

struct NamedLayer {
  std::string name;  // as torchvision names it: "features.0"; empty where PyTorch has no module
  std::shared_ptr<const Layer> layer;
};

// One parameter of a network under its full name.
struct NamedParameter {
  std::string name;  // "features.0.weight"
  int layer = 0;     // index of its layer
  ParameterSpec spec;
};

class Network {
 public:
  // Throws Error when `layers` is empty or two share a name that is not empty.
  Network(std::string name, std::vector<NamedLayer> layers);

  const std::string& name() const { return name_; }
  int size() const { return static_cast<int>(layers_.size()); }
  const NamedLayer& operator[](int i) const { return layers_.at(i); }

  // One plan per layer for an input of this spec, with what neighbours do of each other's work; an
  // error names the layer ("features.3 (Conv2d...)") and is thrown before anything runs.
  std::vector<LayerPlan> plan(const TensorSpec& input, const Target& target) const;

 private:
  void fuse_relu(int i, const Target& target, std::vector<LayerPlan>& plans) const;

  std::string name_;
  std::vector<NamedLayer> layers_;
};

// All parameters in order, with full names. Parameter i of the network is initialised from
// RandomStream{seed, kInitialWeights, layer = i}, whatever stage it is on. Throws Error when a
// layer with parameters has no name, or when there is not one plan for each layer.
std::vector<NamedParameter> parameters_of(const Network& network,
                                          const std::vector<LayerPlan>& plans);

// torchvision.models.alexnet(num_classes): 22 layers (features 0-12, avgpool, flatten,
// classifier 0-6), 57,044,810 parameters at 10 classes. `dropout` in [0, 1).
Network make_alexnet(int num_classes = 10, float dropout = 0.5f);

}  // namespace stagecoach
