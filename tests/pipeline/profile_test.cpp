#include "pipeline/profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>

#include "layers/layers.h"
#include "tests/pipeline/schedule/table_text.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

// A sanitizer or a neighbour cannot make it faster, nor the other layers as slow.
constexpr std::chrono::milliseconds kSlow{50};

TEST(Profile, EachLayerGetsItsOwnCost) {
  const auto sleep = [](Context& context, ActionKind kind, std::int64_t) {
    if (kind != ActionKind::kBackwardInput) return;
    context.stream().enqueue([] { std::this_thread::sleep_for(kSlow); });
  };
  const Network network{"one of them is slow",
                        {{"", flatten_layer()},
                         {"first", linear_layer(16, 8)},
                         {"", std::make_shared<testing::HookedLayer>(relu_layer(), sleep)},
                         {"last", linear_layer(8, 2)}}};
  const auto plans = network.plan(channels_last(2, 4, 2, 2), 1);
  std::vector<int> done;
  const LayerCosts costs =
      measure_layers(network, plans, 1, [&](int layers) { done.push_back(layers); });
  EXPECT_EQ(done, (std::vector<int>{1, 2, 3, 4}));
  ASSERT_EQ(costs.size(), 4U);
  const double slow = std::chrono::duration<double>(kSlow).count();
  for (std::size_t layer = 0; layer < costs.size(); ++layer) {
    EXPECT_GT(costs[layer], 0);
    EXPECT_EQ(costs[layer] >= slow, layer == 2) << layer << " took " << costs[layer] << " s";
  }
}

TEST(Profile, RefusesALayerThatCannotFit) {
  const Network network{"huge", {{"huge", linear_layer(1, std::int64_t{1} << 42)}}};
  const std::string error = error_of([&] {
    measure_layers(network, network.plan(row_major({1, 1}), 1), 1);
  });
  EXPECT_TRUE(error.starts_with("memory: expected at most ")) << error;
  EXPECT_NE(error.find("for measuring a layer"), std::string::npos) << error;
}

}  // namespace
}  // namespace stagecoach
