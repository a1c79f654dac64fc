#include "layers/network.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "core/error.h"

namespace stagecoach {
namespace {

// "features.3 (Conv2d(...))", or "layer 14 (Flatten())" for a layer without a name.
std::string place_of(int index, const NamedLayer& named) {
  return fmt::format("{} ({})", named.name.empty() ? fmt::format("layer {}", index) : named.name,
                     named.layer->describe());
}

std::string text_of(const std::vector<TensorSpec>& specs) {
  std::string text;
  for (const TensorSpec& spec : specs) text += (text.empty() ? "" : ", ") + spec.to_string();
  return text;
}

// layer.plan(inputs); its error says at which `place` the inputs do not fit.
LayerPlan fitting(const std::string& place, const Layer& layer,
                  const std::vector<TensorSpec>& inputs, const Target& target) {
  try {
    LayerPlan plan = layer.plan(inputs, target);
    STAGECOACH_CHECK(
        plan.inputs == inputs && !plan.outputs.empty(), layer.describe(),
        "a plan of these inputs with at least one output",
        fmt::format("inputs {}, {} outputs", text_of(plan.inputs), plan.outputs.size()));
    return plan;
  } catch (const Error&) {
    std::rethrow_exception(
        with_where(std::current_exception(),
                   fmt::format("{}: expected an input that fits, got {}", place, text_of(inputs))));
  }
}

}  // namespace

Network::Network(std::string name, std::vector<NamedLayer> layers, std::shared_ptr<const Loss> loss)
    : name_(std::move(name)), layers_(std::move(layers)), loss_(std::move(loss)) {
  STAGECOACH_CHECK(!layers_.empty(), "Network", "at least one layer", "none");
  STAGECOACH_CHECK(loss_ != nullptr, "Network", "a loss", "none");
  std::set<std::string> names;
  for (const NamedLayer& named : layers_) {
    STAGECOACH_CHECK(named.layer != nullptr, "Network", "a layer",
                     fmt::format("none under the name \"{}\"", named.name));
    STAGECOACH_CHECK(named.name.empty() || names.insert(named.name).second, "Network",
                     "a name of its own for each layer",
                     fmt::format("two layers named \"{}\"", named.name));
    STAGECOACH_CHECK(named.name != "input" && named.name.find(':') == std::string::npos, "Network",
                     "names other than \"input\", without a colon",
                     fmt::format("\"{}\"", named.name));
  }
  for (int i = 0; i < size(); ++i) {
    std::vector<Value>& inputs = inputs_.emplace_back();
    for (const std::string& input : layers_[i].inputs) inputs.push_back(resolve(i, input));
    if (inputs.empty()) inputs.push_back({i - 1, 0});
  }
  check_read();
}

// Of layer `layer`, as NamedLayer::inputs says.
Network::Value Network::resolve(int layer, const std::string& input) const {
  if (input == "input") return {-1, 0};
  const std::size_t colon = input.rfind(':');
  int output = 0;
  if (colon != std::string::npos) {
    const char* end = input.data() + input.size();
    const auto [stop, code] = std::from_chars(input.data() + colon + 1, end, output);
    if (stop != end || code != std::errc() || output < 0) output = -1;
  }
  const std::string name = input.substr(0, colon);
  for (int i = 0; i < layer && output >= 0; ++i) {
    if (layers_[i].name == name && !name.empty()) return {i, output};
  }
  throw Error(place_of(layer, layers_[layer]),
              "inputs that are \"input\", or names of earlier layers, with :1 for a second output",
              fmt::format("\"{}\"", input));
}

// Work that nobody uses is a mistake in the list of layers.
void Network::check_read() const {
  for (int i = 0; i + 1 < size(); ++i) {
    const bool read = std::ranges::any_of(inputs_, [i](const std::vector<Value>& inputs) {
      return std::ranges::find(inputs, i, &Value::layer) != inputs.end();
    });
    STAGECOACH_CHECK(read, place_of(i, layers_[i]), "a layer that reads its output", "none");
  }
}

std::vector<Network::Value> Network::alive_at(int first) const {
  if (first == 0) return {{-1, 0}};
  std::set<Value> alive;
  if (first == size()) alive.insert({first - 1, 0});
  for (int i = first; i < size(); ++i) {
    for (const Value& value : inputs_of(i)) {
      if (value.layer < first) alive.insert(value);
    }
  }
  return {alive.begin(), alive.end()};
}

std::vector<LayerPlan> Network::plan(const TensorSpec& input, const Target& target) const {
  std::vector<LayerPlan> plans;
  for (int i = 0; i < size(); ++i) {
    std::vector<TensorSpec> inputs;
    for (const Value& value : inputs_of(i)) {
      if (value.layer < 0) {
        inputs.push_back(input);
        continue;
      }
      const std::vector<TensorSpec>& outputs = plans[static_cast<std::size_t>(value.layer)].outputs;
      STAGECOACH_CHECK(
          value.output < static_cast<int>(outputs.size()), place_of(i, layers_[i]),
          fmt::format("output {} of {}", value.output, place_of(value.layer, layers_[value.layer])),
          fmt::format("{} outputs", outputs.size()));
      inputs.push_back(outputs[static_cast<std::size_t>(value.output)]);
    }
    plans.push_back(fitting(place_of(i, layers_[i]), *layers_[i].layer, inputs, target));
  }
  fuse(plans, inputs_);
  const TensorSpec prediction = plans.back().outputs[0];
  plans.push_back(fitting(fmt::format("the loss ({})", loss_->describe()), *loss_,
                          {prediction, loss_->target_spec(prediction)}, target));
  return plans;
}

std::vector<NamedParameter> parameters_of(const Network& network,
                                          const std::vector<LayerPlan>& plans) {
  STAGECOACH_CHECK(static_cast<int>(plans.size()) == network.size() + 1, "parameters_of",
                   fmt::format("{} plans, one for each layer and the loss", network.size() + 1),
                   fmt::format("{}", plans.size()));
  std::vector<NamedParameter> parameters;
  for (int i = 0; i < network.size(); ++i) {
    const LayerPlan& plan = plans[static_cast<std::size_t>(i)];
    STAGECOACH_CHECK(!network[i].name.empty() || (plan.parameters.empty() && plan.buffers.empty()),
                     place_of(i, network[i]), "a name for a layer with parameters", "none");
    for (const ParameterSpec& spec : plan.parameters) {
      parameters.push_back({network[i].name + "." + spec.name, i, spec});
    }
  }
  return parameters;
}

}  // namespace stagecoach
