#include "pipeline/stage_graph.h"

#include <algorithm>

#include "core/error.h"

namespace stagecoach {
namespace {

// The whole network: what a stage needs to know of the layers before and behind it.
class NetworkValues {
 public:
  NetworkValues(std::span<const LayerPlan> plans, const NetworkEdges& edges)
      : plans_(plans), loss_(static_cast<int>(plans.size()) - 1) {
    add(plans[0].inputs.at(0), -1, 0);  // what the first layer reads
    for (int i = 0; i < loss_; ++i) {
      first_output_.push_back(static_cast<int>(values_.size()));
      for (std::size_t k = 0; k < plans[i].outputs.size(); ++k) {
        add(plans[i].outputs[k], i, static_cast<int>(k));
      }
    }
    for (int i = 0; i < loss_; ++i) {
      for (std::size_t k = 0; k < edges[i].size(); ++k) {
        values_[number_of(edges[i][k])].readers.push_back({i, static_cast<int>(k)});
      }
    }
    values_[number_of({loss_ - 1, 0})].readers.push_back({loss_, 0});
    find_gradients();
  }

  struct Value {
    TensorSpec spec;
    int maker, output;
    std::vector<ValueReader> readers;  // ascending
    bool depends = false;              // on a parameter
    bool read_from(int layer) const { return !readers.empty() && readers.back().layer >= layer; }
  };
  const std::vector<Value>& values() const { return values_; }
  int loss() const { return loss_; }
  bool leads(int layer) const { return leads_[static_cast<std::size_t>(layer)]; }
  // Whether the gradient of a value has a part from this reader.
  bool is_part(const Value& value, const ValueReader& reader) const {
    return value.depends && leads(reader.layer) && differentiable(reader);
  }

 private:
  void add(const TensorSpec& spec, int maker, int output) {
    values_.push_back({spec, maker, output, {}});
  }
  std::size_t number_of(const Network::Value& value) const {
    return static_cast<std::size_t>(value.layer < 0 ? 0
                                                    : first_output_[value.layer] + value.output);
  }
  bool differentiable(const ValueReader& reader) const {
    return plans_[reader.layer].has_gradient(static_cast<std::size_t>(reader.input));
  }

  // A gradient goes from the loss to the parameters, and nowhere else: to values that depend on a
  // parameter and lead to the loss.
  void find_gradients() {
    std::vector<bool> depends(plans_.size(), false);
    for (Value& value : values_) {
      if (value.maker >= 0 && !plans_[value.maker].parameters.empty()) depends[value.maker] = true;
      value.depends = value.maker >= 0 && depends[value.maker];
      for (const ValueReader& reader : value.readers) {
        if (value.depends && differentiable(reader)) depends[reader.layer] = true;
      }
    }
    leads_.assign(plans_.size(), false);
    leads_.back() = true;
    for (auto value = values_.rbegin(); value != values_.rend(); ++value) {
      for (const ValueReader& reader : value->readers) {
        if (value->maker >= 0 && leads(reader.layer) && differentiable(reader)) {
          leads_[static_cast<std::size_t>(value->maker)] = true;
        }
      }
    }
  }

  std::span<const LayerPlan> plans_;
  int loss_;
  std::vector<int> first_output_;  // by layer: the number of the first value that it makes
  std::vector<Value> values_;      // ascending by maker and output; 0: the network's input
  std::vector<bool> leads_;        // by layer: to the loss
};

class StageGraphMaker {
 public:
  StageGraphMaker(const NetworkValues& network, std::span<const LayerPlan> plans, int first,
                  int end)
      : network_(network), first_(first), end_(end) {
    graph_.first = first;
    graph_.has_next = end < network.loss();
    const int last = graph_.has_next ? end : end + 1;
    graph_.layers.assign(plans.begin() + first, plans.begin() + last);
    graph_.inputs.resize(graph_.layers.size());
    graph_.outputs.resize(graph_.layers.size());
    for (std::size_t i = 0; i < graph_.layers.size(); ++i) {
      graph_.inputs[i].resize(graph_.layers[i].inputs.size());
    }
  }

  StageGraph make() {
    for (const NetworkValues::Value& value : network_.values()) {
      const bool own = value.maker >= first_ && value.maker < end_;
      const bool input = value.maker < first_ && (first_ == 0 || value.read_from(first_));
      if (own || input) add(value);
    }
    if (!graph_.has_next) add_loss();
    for (int i = 0; i < graph_.size(); ++i) {
      graph_.runs_backward.push_back(std::ranges::any_of(graph_.inputs[i], [&](int v) {
        return std::ranges::find(graph_.values[v].parts, i, &ValueReader::layer) !=
               graph_.values[v].parts.end();
      }));
      STAGECOACH_CHECK(graph_.layers[i].parameters.empty() || network_.leads(first_ + i),
                       fmt::format("layer {}", first_ + i), "parameters that the loss depends on",
                       "none of its outputs read");
    }
    return std::move(graph_);
  }

 private:
  bool own_layer(int layer) const { return layer < first_ + graph_.size(); }

  void add(const NetworkValues::Value& value) {
    const int number = static_cast<int>(graph_.values.size());
    StageValue own;
    own.spec = value.spec;
    own.output = value.output;
    own.maker = value.maker < first_ ? -1 : value.maker - first_;
    for (const ValueReader& reader : value.readers) {
      if (reader.layer < first_) continue;
      const ValueReader here{reader.layer - first_, reader.input};
      const bool part = network_.is_part(value, reader);
      if (!own_layer(reader.layer)) {
        own.sent = true;
        own.gradient_from_next |= part;
        continue;
      }
      own.readers.push_back(here);
      if (part) own.parts.insert(own.parts.begin(), here);
      graph_.inputs[here.layer][here.input] = number;
    }
    if (own.maker < 0) graph_.received.push_back(number);
    if (own.maker >= 0) graph_.outputs[own.maker].push_back(number);
    if (own.sent) graph_.sent.push_back(number);
    if (own.gradient_from_next) graph_.gradients_received.push_back(number);
    if (own.maker < 0 && first_ > 0 && own.has_gradient()) {
      graph_.gradients_sent.push_back(number);
    }
    graph_.values.push_back(std::move(own));
  }

  void add_loss() {
    const int loss = graph_.loss();
    graph_.targets = static_cast<int>(graph_.values.size());
    graph_.values.push_back({.spec = graph_.layers[loss].inputs.at(1), .readers = {{loss, 1}}});
    graph_.inputs[loss][1] = graph_.targets;
    const std::vector<TensorSpec>& outputs = graph_.layers[loss].outputs;
    for (std::size_t k = 0; k < outputs.size(); ++k) {
      graph_.outputs[loss].push_back(static_cast<int>(graph_.values.size()));
      graph_.values.push_back({.spec = outputs[k], .maker = loss, .output = static_cast<int>(k)});
    }
  }

  const NetworkValues& network_;
  const int first_, end_;
  StageGraph graph_;
};

}  // namespace

StageGraph stage_graph(std::span<const LayerPlan> plans, const NetworkEdges& edges, int first,
                       int end) {
  STAGECOACH_CHECK(
      plans.size() == edges.size() + 1 && first >= 0 && first < end &&
          end <= static_cast<int>(edges.size()),
      "stage_graph", "plans of all layers and the loss, and layers of the network",
      fmt::format("{} plans, layers {} to {} of {}", plans.size(), first, end - 1, edges.size()));
  return StageGraphMaker(NetworkValues(plans, edges), plans, first, end).make();
}

StageGraph stage_graph(const Network& network, std::span<const LayerPlan> plans, int first,
                       int end) {
  NetworkEdges edges;
  for (int i = 0; i < network.size(); ++i) edges.push_back(network.inputs_of(i));
  return stage_graph(plans, edges, first, end);
}

}  // namespace stagecoach
