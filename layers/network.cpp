#include "layers/network.h"

#include <set>

#include "core/error.h"

namespace stagecoach {
namespace {

// "features.3 (Conv2d(...))", or "layer 14 (Flatten())" for a layer without a name.
std::string place_of(int index, const NamedLayer& named) {
  return fmt::format("{} ({})", named.name.empty() ? fmt::format("layer {}", index) : named.name,
                     named.layer->describe());
}

}  // namespace

Network::Network(std::string name, std::vector<NamedLayer> layers)
    : name_(std::move(name)), layers_(std::move(layers)) {
  STAGECOACH_CHECK(!layers_.empty(), "Network", "at least one layer", "none");
  std::set<std::string> names;
  for (const NamedLayer& named : layers_) {
    STAGECOACH_CHECK(named.layer != nullptr, "Network", "a layer",
                     fmt::format("none under the name \"{}\"", named.name));
    STAGECOACH_CHECK(named.name.empty() || names.insert(named.name).second, "Network",
                     "a name of its own for each layer",
                     fmt::format("two layers named \"{}\"", named.name));
  }
}

std::vector<LayerPlan> Network::plan(const TensorSpec& input, const Target& target) const {
  std::vector<LayerPlan> plans;
  for (int i = 0; i < size(); ++i) {
    const TensorSpec fed = plans.empty() ? input : plans.back().output;
    try {
      plans.push_back(layers_[i].layer->plan(fed, target));
    } catch (const Error&) {
      std::rethrow_exception(with_where(std::current_exception(),
                                        fmt::format("{}: expected an input that fits, got {}",
                                                    place_of(i, layers_[i]), fed.to_string())));
    }
  }
  for (int i = 0; i < size(); ++i) {
    if (layers_[i].layer->is_relu()) fuse_relu(i, target, plans);
  }
  return plans;
}

// A convolution can apply the ReLU to what it writes, and applying it again changes nothing. A pool
// can let no gradient through to what the ReLU cut off; then the ReLU has nothing to do in B, and
// need not keep its output for it.
void Network::fuse_relu(int i, const Target& target, std::vector<LayerPlan>& plans) const {
  if (i > 0 && layers_[i - 1].layer->fuses_relu_after(target)) {
    plans[i - 1].activation = Activation::kRelu;
    plans[i].forward_is_copy = true;
  }
  if (i + 1 < size() && layers_[i + 1].layer->fuses_relu_before(target)) {
    plans[i + 1].input_from_relu = true;
    plans[i].backward_is_copy = true;
    plans[i].output_needed_by_input = false;
  }
}

std::vector<NamedParameter> parameters_of(const Network& network,
                                          const std::vector<LayerPlan>& plans) {
  STAGECOACH_CHECK(static_cast<int>(plans.size()) == network.size(), "parameters_of",
                   fmt::format("{} plans, one for each layer", network.size()),
                   fmt::format("{}", plans.size()));
  std::vector<NamedParameter> parameters;
  for (int i = 0; i < network.size(); ++i) {
    for (const ParameterSpec& spec : plans[i].parameters) {
      STAGECOACH_CHECK(!network[i].name.empty(), place_of(i, network[i]),
                       "a name for a layer with parameters", "none");
      parameters.push_back({network[i].name + "." + spec.name, i, spec});
    }
  }
  return parameters;
}

}  // namespace stagecoach
