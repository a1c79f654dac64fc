#include <gtest/gtest.h>

#include "layers/network.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::expect_error;

// Names and modules as print(torchvision.models.alexnet()) shows them, and the shapes of one image
// of 224 on its way.
struct Row {
  const char* name;
  const char* layer;
  TensorSpec output;
};

std::vector<Row> rows() {
  return {
      {"features.0", "Conv2d(3, 64, kernel 11x11, stride 4, padding 2)",
       channels_last(1, 64, 55, 55)},
      {"features.1", "ReLU()", channels_last(1, 64, 55, 55)},
      {"features.2", "MaxPool2d(kernel 3x3, stride 2)", channels_last(1, 64, 27, 27)},
      {"features.3", "Conv2d(64, 192, kernel 5x5, stride 1, padding 2)",
       channels_last(1, 192, 27, 27)},
      {"features.4", "ReLU()", channels_last(1, 192, 27, 27)},
      {"features.5", "MaxPool2d(kernel 3x3, stride 2)", channels_last(1, 192, 13, 13)},
      {"features.6", "Conv2d(192, 384, kernel 3x3, stride 1, padding 1)",
       channels_last(1, 384, 13, 13)},
      {"features.7", "ReLU()", channels_last(1, 384, 13, 13)},
      {"features.8", "Conv2d(384, 256, kernel 3x3, stride 1, padding 1)",
       channels_last(1, 256, 13, 13)},
      {"features.9", "ReLU()", channels_last(1, 256, 13, 13)},
      {"features.10", "Conv2d(256, 256, kernel 3x3, stride 1, padding 1)",
       channels_last(1, 256, 13, 13)},
      {"features.11", "ReLU()", channels_last(1, 256, 13, 13)},
      {"features.12", "MaxPool2d(kernel 3x3, stride 2)", channels_last(1, 256, 6, 6)},
      {"avgpool", "AdaptiveAvgPool2d(6x6)", channels_last(1, 256, 6, 6)},
      {"", "Flatten()", row_major({1, 9216})},
      {"classifier.0", "Dropout(0.5)", row_major({1, 9216})},
      {"classifier.1", "Linear(9216, 4096)", row_major({1, 4096})},
      {"classifier.2", "ReLU()", row_major({1, 4096})},
      {"classifier.3", "Dropout(0.5)", row_major({1, 4096})},
      {"classifier.4", "Linear(4096, 4096)", row_major({1, 4096})},
      {"classifier.5", "ReLU()", row_major({1, 4096})},
      {"classifier.6", "Linear(4096, 10)", row_major({1, 10})},
  };
}

std::vector<NamedParameter> parameters_at_224(int classes) {
  const Network network = make_alexnet(classes);
  return parameters_of(network, network.plan(channels_last(1, 3, 224, 224), 1));
}

std::int64_t count_of(const std::vector<NamedParameter>& parameters) {
  std::int64_t count = 0;
  for (const NamedParameter& parameter : parameters) count += parameter.spec.spec.elements();
  return count;
}

TEST(AlexNet, HasTorchvisionsLayers) {
  const Network network = make_alexnet();
  EXPECT_EQ(network.name(), "alexnet");
  ASSERT_EQ(network.size(), 22);
  const std::vector<LayerPlan> plans = network.plan(channels_last(1, 3, 224, 224), 1);
  for (int i = 0; i < 22; ++i) {
    EXPECT_EQ(network[i].name, rows()[i].name) << i;
    EXPECT_EQ(network[i].layer->describe(), rows()[i].layer) << i;
    EXPECT_EQ(plans[i].outputs[0], rows()[i].output) << i;
  }
}

TEST(AlexNet, HasTorchvisionsParameters) {
  const std::pair<const char*, TensorSpec> expected[] = {
      {"features.0.weight", channels_last(64, 3, 11, 11)},
      {"features.0.bias", row_major({64})},
      {"features.3.weight", channels_last(192, 64, 5, 5)},
      {"features.3.bias", row_major({192})},
      {"features.6.weight", channels_last(384, 192, 3, 3)},
      {"features.6.bias", row_major({384})},
      {"features.8.weight", channels_last(256, 384, 3, 3)},
      {"features.8.bias", row_major({256})},
      {"features.10.weight", channels_last(256, 256, 3, 3)},
      {"features.10.bias", row_major({256})},
      {"classifier.1.weight", row_major({4096, 9216})},
      {"classifier.1.bias", row_major({4096})},
      {"classifier.4.weight", row_major({4096, 4096})},
      {"classifier.4.bias", row_major({4096})},
      {"classifier.6.weight", row_major({10, 4096})},
      {"classifier.6.bias", row_major({10})},
  };
  const std::vector<NamedParameter> parameters = parameters_at_224(10);
  ASSERT_EQ(parameters.size(), std::size(expected));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(parameters[i].name, expected[i].first);
    EXPECT_EQ(parameters[i].spec.spec, expected[i].second) << expected[i].first;
    EXPECT_EQ(rows()[parameters[i].layer].name + ("." + parameters[i].spec.name),
              parameters[i].name);
  }
  EXPECT_EQ(count_of(parameters), 57044810);
}

// The number of torchvision's documentation.
TEST(AlexNet, HasTheParametersOfImageNet) {
  EXPECT_EQ(count_of(parameters_at_224(1000)), 61100840);
}

TEST(AlexNet, WorksFromSide63On) {
  const Network network = make_alexnet(10, 0.0f);
  const std::vector<LayerPlan> plans = network.plan(channels_last(4, 3, 63, 63), 2);
  EXPECT_EQ(plans[12].outputs[0], channels_last(4, 256, 1, 1));
  EXPECT_EQ(plans[13].outputs[0], channels_last(4, 256, 6, 6));
  EXPECT_EQ(plans[21].outputs[0], row_major({4, 10}));
  expect_error([&] { network.plan(channels_last(4, 3, 62, 62), 2); },
               {"features.12 (MaxPool2d(kernel 3x3, stride 2))", "[4, 256, 2, 2]"});
  expect_error([&] { network.plan(channels_last(4, 3, 6, 6), 2); },
               {"features.0 (Conv2d", "[4, 3, 6, 6]"});
}

TEST(AlexNet, TakesClassesAndDropout) {
  EXPECT_EQ(make_alexnet(37)[21].layer->describe(), "Linear(4096, 37)");
  for (const int i : {15, 18}) {
    EXPECT_EQ(make_alexnet(10, 0.25f)[i].layer->describe(), "Dropout(0.25)");
  }
  expect_error([] { make_alexnet(0); }, {"linear_layer", "Linear(4096, 0)"});
  expect_error([] { make_alexnet(10, 1.0f); }, {"dropout_layer", "p = 1"});
}

}  // namespace
}  // namespace stagecoach
