// Every layer of AlexNet on a GPU against the CPU, from the same inputs and weights, in each
// precision; layers that work together on a GPU together. The table of errors is printed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>

#include "kernels/step.h"
#include "layers/layers.h"
#include "pipeline/stage.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::values_of;

constexpr std::int64_t kImages = 2;

// Output, input gradient, and all weight gradients behind one another.
struct Results {
  std::vector<float> forward, backward_input, backward_weight;
};

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, sum = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    sum += std::pow(static_cast<double>(b[i]), 2);
  }
  return sum > 0 ? std::sqrt(difference / sum) : 0;
}

// Values that BF16 holds exactly, so every precision starts from the same. To draw all of a large
// weight takes minutes with a sanitizer: they come again, after a prime number, so rows differ.
OwnedTensor exact_values(const TensorSpec& spec, std::uint64_t seed, float bound) {
  constexpr std::int64_t kPeriod = 99'991;
  OwnedTensor owned(spec);
  const std::int64_t elements = spec.elements(), drawn = std::min(elements, kPeriod);
  const RandomStream stream{seed, RandomUse::kSyntheticData};
  const auto fill = [&]<typename T>(T* to) {
    for (std::int64_t i = 0; i < drawn; ++i) {
      const float value = 2.0f * uniform01(stream.word(static_cast<std::uint64_t>(i))) - 1.0f;
      to[i] = static_cast<T>(BFloat16(value * bound));
    }
    for (std::int64_t i = drawn; i < elements; ++i) to[i] = to[i - kPeriod];
  };
  if (spec.dtype == DType::kBF16) {
    fill(owned.tensor.as<BFloat16>());
  } else {
    fill(owned.tensor.as<float>());
  }
  return owned;
}

OwnedTensor on_device(Context& context, const OwnedTensor& host) {
  OwnedTensor owned(host.tensor.spec, context.device());
  copy(context.stream(), owned.tensor, host.tensor);
  context.stream().synchronize();
  return owned;
}

// A layer with parameters before the others, so that these make the gradient of their input, and
// one that nothing is fused with; and a loss that takes outputs of any shape.
Network with_neighbours(const Network& layers, const TensorSpec& input) {
  const std::int64_t features = input.shape[1];
  std::vector<NamedLayer> all = {
      {"before", input.shape.rank() == 4 ? conv2d_layer(features, features, 1)
                                         : linear_layer(features, features)},
      {"", dropout_layer(0.0f)}};
  for (int i = 0; i < layers.size(); ++i) all.push_back(layers[i]);
  return {"with neighbours", all, mean_squared_error_loss()};
}

// All layers but the last one of the network, which keeps the stage from computing a loss.
// `undecided`: outputs that get no gradient; empty: none.
Results run(const Network& layers, TensorSpec input_spec, const Target& target,
            const std::vector<bool>& undecided = {}) {
  const Network network = with_neighbours(layers, input_spec);
  input_spec.dtype = target.precision == Precision::kBf16 ? DType::kBF16 : DType::kF32;
  const auto plans = network.plan(input_spec, target);
  StageOptions options;
  options.first = 2;
  options.end = network.size() - 1;
  Context context(target);
  Stage stage(network, plans, options, context);
  std::uint64_t seed = 10;
  for (const Stage::Parameter& parameter : stage.parameters()) {
    const float bound =
        1.0f /
        std::sqrt(static_cast<float>(parameter.value.elements() / parameter.value.shape()[0]));
    const OwnedTensor value = exact_values(parameter.value.spec, seed++, bound);
    copy(context.stream(), parameter.value, value.tensor);
    context.stream().synchronize();
  }
  stage.flat().refresh_copies();
  const OwnedTensor input = on_device(context, exact_values(input_spec, 1, 1.0f));
  OwnedTensor exact_gradient =
      exact_values(plans[static_cast<std::size_t>(options.end - 1)].outputs[0], 2, 1.0f);
  for (std::size_t i = 0; i < undecided.size(); ++i) {
    const std::int64_t bytes = size_of(exact_gradient.tensor.spec.dtype);
    auto* value =
        static_cast<char*>(exact_gradient.tensor.data) + static_cast<std::int64_t>(i) * bytes;
    if (undecided[i]) std::memset(value, 0, static_cast<std::size_t>(bytes));
  }
  const OwnedTensor gradient = on_device(context, exact_gradient);
  MicroBatch micro;
  micro.step = 3;
  begin_step(context, {.step = micro.step});
  stage.forward({&input.tensor, 1}, {}, micro);
  stage.backward_input({&gradient.tensor, 1}, micro);
  stage.backward_weight(micro);
  Results results;
  results.forward = values_of(to_host(context.stream(), stage.outputs(0)[0]).tensor);
  results.backward_input = values_of(to_host(context.stream(), stage.input_grads(0)[0]).tensor);
  for (const Stage::Parameter& parameter : stage.parameters()) {
    const auto values = values_of(to_host(context.stream(), parameter.grad).tensor);
    results.backward_weight.insert(results.backward_weight.end(), values.begin(), values.end());
  }
  return results;
}

struct Group {
  std::string name;
  Network network;
  TensorSpec input;
  bool sums_before_relu = false;
};

// Where a sum is so near to 0 that another order of adding may take a ReLU to the other side. One
// such unit is wholly in or out of the gradient, which would hide all other errors.
std::vector<bool> undecided(const Group& group) {
  if (!group.sums_before_relu) return {};
  const Network sums("sums", {group.network[0], {"", dropout_layer(0.0f)}},
                     mean_squared_error_loss());
  const std::vector<float> values = run(sums, group.input, Target(2)).forward;
  std::vector<bool> result;
  for (const float value : values) result.push_back(std::abs(value) < 1e-4f);
  return result;
}

// A layer with the ReLU behind it, or a pool with the one before it; but not all three: where bf16
// makes two values equal, a pool takes the first, and its gradient goes to another place.
std::vector<Group> groups_of_alexnet() {
  const Network alexnet = make_alexnet();
  const auto plans = alexnet.plan(channels_last(kImages, 3, 224, 224), 1);
  std::vector<Group> groups;
  for (int i = 0; i < alexnet.size(); ++i) {
    std::vector<NamedLayer> layers = {alexnet[i]};
    const std::string kind = alexnet[i].layer->describe();
    std::string name = kind.substr(0, kind.find('('));
    bool sums_before_relu = false;
    if (i + 1 < alexnet.size() && (name == "Conv2d" || name == "Linear" || name == "ReLU")) {
      const std::string next = alexnet[i + 1].layer->describe();
      const bool together = name == "ReLU" ? next.starts_with("MaxPool") : next == "ReLU()";
      if (together) {
        layers.push_back(alexnet[i + 1]);
        sums_before_relu = name != "ReLU";
        name = fmt::format("{}+{}", name, next.substr(0, next.find('(')));
      }
    }
    layers.push_back({"", dropout_layer(0.0f)});
    groups.push_back({alexnet[i].name + " " + name,
                      Network("group", layers, mean_squared_error_loss()),
                      plans[static_cast<std::size_t>(i)].inputs[0], sums_before_relu});
  }
  return groups;
}

TEST(LayersShim, EachOfAlexNetIsTheCpus) {
  struct Row {
    Precision precision;
    double bound;
  };
  const Row rows[] = {{Precision::kFp32, 1e-5}, {Precision::kTf32, 1e-3}, {Precision::kBf16, 1e-2}};
  fmt::print("relative L2 error of F, B, W in fp32, tf32, bf16\n");
  for (const Group& group : groups_of_alexnet()) {
    const std::vector<bool> none = undecided(group);
    EXPECT_LT(std::ranges::count(none, true), std::ssize(none) / 100 + 1) << group.name;
    const Results expected = run(group.network, group.input, Target(2), none);
    fmt::print("{:<28}", group.name);
    for (const auto& [precision, bound] : rows) {
      Target target(1, testing::kGpu);
      target.precision = precision;
      const Results got = run(group.network, group.input, target, none);
      const double forward = relative_error(got.forward, expected.forward);
      const double input = relative_error(got.backward_input, expected.backward_input);
      const double weight = relative_error(got.backward_weight, expected.backward_weight);
      fmt::print("  {:.0e} {:.0e} {:.0e}", forward, input, weight);
      EXPECT_LE(forward, bound) << group.name << ", F in " << name_of(precision);
      EXPECT_LE(input, bound) << group.name << ", B in " << name_of(precision);
      EXPECT_LE(weight, bound) << group.name << ", W in " << name_of(precision);
    }
    fmt::print("\n");
  }
}

}  // namespace
}  // namespace stagecoach
