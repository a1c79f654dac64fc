#include "layers/network.h"

#include <gtest/gtest.h>

#include "layers/layers.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::expect_error;

Network small_network() {
  return {"small",
          {{"first", conv2d_layer(3, 4, 3)},
           {"", relu_layer()},
           {"pool", max_pool2d_layer({2, 2, 2, 2, 0, 0})},
           {"", flatten_layer()},
           {"last", linear_layer(16, 5)}}};
}

TEST(Network, FeedsEachLayerTheOutputOfTheOneBefore) {
  const Network network = small_network();
  EXPECT_EQ(network.name(), "small");
  ASSERT_EQ(network.size(), 5);
  EXPECT_EQ(network[2].name, "pool");
  const std::vector<LayerPlan> plans = network.plan(channels_last(2, 3, 6, 6), 1);
  ASSERT_EQ(plans.size(), 6u);
  EXPECT_EQ(plans[0].inputs[0], channels_last(2, 3, 6, 6));
  for (std::size_t i = 1; i < plans.size(); ++i) {
    EXPECT_EQ(plans[i].inputs[0], plans[i - 1].outputs[0]);
  }
  EXPECT_EQ(plans[4].outputs[0], row_major({2, 5}));
  EXPECT_EQ(network.layer(5).describe(), "SoftmaxCrossEntropy()");
  EXPECT_EQ(plans[5].inputs[1], row_major({2}, DType::kI32));
  EXPECT_EQ(plans[5].outputs[0], row_major({2}));
}

TEST(Network, PlansForItsThreads) {
  const Network network = small_network();
  const TensorSpec input = channels_last(2, 3, 6, 6);
  for (const int threads : {1, 4}) {
    EXPECT_EQ(network.plan(input, threads)[0].workspace_bytes,
              network[0].layer->plan(std::span(&input, 1), threads).workspace_bytes);
  }
}

TEST(Network, APoolDoesTheBackwardOfTheReluBefore) {
  const Network network("pools",
                        {{"", relu_layer()},
                         {"", max_pool2d_layer({2, 2, 2, 2, 0, 0})},
                         {"", relu_layer()},
                         {"", max_pool2d_layer({16, 16, 1, 1, 8, 8})}},
                        mean_squared_error_loss());
  const TensorSpec input = channels_last(2, 3, 20, 20);
  const auto plans = network.plan(input, 1);
  EXPECT_TRUE(plans[0].fused.backward_is_copy);
  EXPECT_FALSE(plans[0].outputs_needed_by_input);
  EXPECT_FALSE(plans[0].fused.forward_is_copy);
  EXPECT_TRUE(plans[1].fused.input_from_relu);
  // 256 places leave no index for "none".
  EXPECT_FALSE(plans[2].fused.backward_is_copy);
  EXPECT_TRUE(plans[2].outputs_needed_by_input);
  EXPECT_FALSE(plans[3].fused.input_from_relu);
}

TEST(Network, NamesTheLayerThatDoesNotFit) {
  const Network network = small_network();
  expect_error([&] { network.plan(channels_last(2, 3, 3, 3), 1); },
               {"pool (MaxPool2d(kernel 2x2, stride 2)): expected an input that fits",
                "got F32 [2, 4, 1, 1] channels_last", "padded input, 1 x 1"});
  expect_error([&] { network.plan(channels_last(2, 3, 8, 6), 1); },
               {"last (Linear(16, 5))", "got F32 [2, 24]", "[N, 16]"});
  expect_error([&] { network.plan(row_major({2, 3}), 1); }, {"first (Conv2d(3, 4", "[2, 3]"});
  const Network unnamed("unnamed", {{"", relu_layer()}, {"", flatten_layer()}});
  expect_error([&] { unnamed.plan(row_major({2, 3}), 1); }, {"layer 1 (Flatten())", "[2, 3]"});
}

TEST(Network, AnErrorOfALayerKeepsItsPlace) {
  try {
    small_network().plan(channels_last(2, 3, 3, 3), 1);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.place().file_name()).find("max_pool2d"), std::string::npos)
        << error.what();
  }
}

TEST(Network, ListsItsParametersInOrder) {
  const Network network = small_network();
  const auto parameters = parameters_of(network, network.plan(channels_last(2, 3, 6, 6), 1));
  ASSERT_EQ(parameters.size(), 4u);
  EXPECT_EQ(parameters[0].name, "first.weight");
  EXPECT_EQ(parameters[1].name, "first.bias");
  EXPECT_EQ(parameters[2].name, "last.weight");
  EXPECT_EQ(parameters[3].name, "last.bias");
  EXPECT_EQ(parameters[0].layer, 0);
  EXPECT_EQ(parameters[3].layer, 4);
  EXPECT_EQ(parameters[2].spec.spec, row_major({5, 16}));
  EXPECT_EQ(parameters[2].spec.init.a, 0.25f);
}

TEST(Network, RefusesListsThatAreNoNetwork) {
  expect_error([] { Network("none", {}); }, {"Network", "at least one layer"});
  expect_error([] { Network("null", {{"a", nullptr}}); }, {"Network", "a layer", "\"a\""});
  expect_error(
      [] {
        Network("twice", {{"a", relu_layer()}, {"a", relu_layer()}});
      },
      {"Network", "two layers named \"a\""});
  expect_error(
      [] {
        Network("input", {{"input", relu_layer()}});
      },
      {"Network", "other than \"input\"", "got \"input\""});
  expect_error(
      [] {
        Network("colon", {{"a:1", relu_layer()}});
      },
      {"Network", "without a colon", "got \"a:1\""});
}

TEST(Network, RefusesParametersWithoutAName) {
  const Network network("unnamed", {{"", relu_layer()}, {"", linear_layer(3, 2)}});
  const std::vector<LayerPlan> plans = network.plan(row_major({1, 3}), 1);
  expect_error([&] { parameters_of(network, plans); }, {"layer 1 (Linear(3, 2))", "a name"});
  expect_error([&] { parameters_of(network, {plans[0]}); }, {"parameters_of", "3 plans", "got 1"});
}

// in -> a -> b -> c -> d, where d also reads a, and c also reads the network's input.
Network skipping_network() {
  return {"skips",
          {{"a", relu_layer()},
           {"b", dropout_layer(0.5f)},
           {"c", add_layer(), {"b", "input"}},
           {"d", add_layer(), {"c", "a"}},
           {"e", linear_layer(4, 3)}}};
}

TEST(Network, LayersNameWhatTheyRead) {
  const Network network = skipping_network();
  using Values = std::vector<Network::Value>;
  EXPECT_EQ(network.inputs_of(0), (Values{{-1, 0}}));
  EXPECT_EQ(network.inputs_of(2), (Values{{1, 0}, {-1, 0}}));
  EXPECT_EQ(network.inputs_of(3), (Values{{2, 0}, {0, 0}}));
  EXPECT_EQ(network.inputs_of(4), (Values{{3, 0}}));
  const std::vector<LayerPlan> plans = network.plan(row_major({2, 4}), 1);
  EXPECT_EQ(plans[3].inputs, (std::vector<TensorSpec>{row_major({2, 4}), row_major({2, 4})}));
}

TEST(Network, AMessageIsWhatIsAliveAtTheCut) {
  const Network network = skipping_network();
  using Values = std::vector<Network::Value>;
  EXPECT_EQ(network.alive_at(0), (Values{{-1, 0}}));
  EXPECT_EQ(network.alive_at(1), (Values{{-1, 0}, {0, 0}}));
  EXPECT_EQ(network.alive_at(2), (Values{{-1, 0}, {0, 0}, {1, 0}}));
  EXPECT_EQ(network.alive_at(3), (Values{{0, 0}, {2, 0}}));
  EXPECT_EQ(network.alive_at(4), (Values{{3, 0}}));
}

TEST(Network, RefusesEdgesThatLeadNowhere) {
  const auto with = [](std::vector<std::string> inputs) {
    return [=] {
      Network("edges", {{"a", relu_layer()}, {"b", relu_layer(), inputs}, {"c", relu_layer()}});
    };
  };
  expect_error(with({"c"}), {"b (ReLU())", "names of earlier layers", "\"c\""});
  expect_error(with({"b"}), {"b (ReLU())", "names of earlier layers", "\"b\""});
  expect_error(with({"nobody"}), {"b (ReLU())", "\"nobody\""});
  expect_error(with({""}), {"b (ReLU())", "\"\""});
  expect_error(with({"a:x"}), {"b (ReLU())", "\"a:x\""});
  expect_error(with({"a:-1"}), {"b (ReLU())", "\"a:-1\""});
  expect_error(with({"input"}), {"a (ReLU())", "a layer that reads its output"});
  const Network second("second", {{"a", relu_layer()}, {"b", relu_layer(), {"a:1"}}});
  expect_error(
      [&] {
        second.plan(row_major({1, 2}), 1);
      },
      {"b (ReLU())", "output 1 of a", "1 outputs"});
  const Network sums("sums", {{"a", relu_layer()}, {"b", add_layer()}});
  expect_error([&] { sums.plan(row_major({1, 2}), 1); }, {"b (Add())", "2 inputs"});
}

}  // namespace
}  // namespace stagecoach
