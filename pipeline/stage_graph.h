// StageGraph: the values that the layers of one stage make and read, and those that its messages
// are made of. Memory plan and stage work with it. Follows from plans and edges alone.
#pragma once

#include <span>
#include <vector>

#include "layers/network.h"

namespace stagecoach {

// Input `input` of layer `layer`. In a StageGraph, layers are counted from the stage's first one.
struct ValueReader {
  int layer = 0, input = 0;
  bool operator==(const ValueReader&) const = default;
};

struct StageValue {
  TensorSpec spec;
  int maker = -1;  // the layer; -1: comes from the stage before, or is the batch's
  int output = 0;  // of its maker
  std::vector<ValueReader> readers = {};  // of this stage, ascending
  bool sent = false;                      // a later stage reads it, too

  // Its gradient is the sum of a part from each of these readers' B, added in this order: the last
  // one's first. Before them comes the sum of all later stages' parts, where there are any.
  std::vector<ValueReader> parts = {};
  bool gradient_from_next = false;
  bool has_gradient() const { return gradient_from_next || !parts.empty(); }
  // Whether its gradient, of which there is one, goes through this stage as it is.
  bool hands_gradient_on() const { return maker < 0 && parts.empty(); }
};

struct StageGraph {
  int first = 0;                  // of its layers, in the network
  std::vector<LayerPlan> layers;  // on the last stage, the loss is the last one
  bool has_next = false;

  std::vector<StageValue> values;
  std::vector<std::vector<int>> inputs, outputs;  // [layer]: numbers of values
  // Messages: numbers of values, ascending by their makers in the network. What is in both is
  // handed on. `received` is the network's input on the first stage.
  std::vector<int> received, sent;
  std::vector<int> gradients_received, gradients_sent;
  int targets = -1;                 // the value that only the loss reads, on the last stage
  std::vector<bool> runs_backward;  // by layer: whether B has a gradient to make

  bool has_previous() const { return first > 0; }
  int size() const { return static_cast<int>(layers.size()); }
  // The loss's number among the layers, or -1.
  int loss() const { return has_next ? -1 : size() - 1; }
};

// The inputs of each layer of a network but the loss.
using NetworkEdges = std::vector<std::vector<Network::Value>>;

// The stage with the layers [first, end), and the loss where they are the last. `plans`: of all
// layers and, last, the loss. Throws Error when a layer with parameters does not lead to the loss.
StageGraph stage_graph(std::span<const LayerPlan> plans, const NetworkEdges& edges, int first,
                       int end);
StageGraph stage_graph(const Network& network, std::span<const LayerPlan> plans, int first,
                       int end);

}  // namespace stagecoach
