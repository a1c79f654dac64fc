#include "pipeline/profile.h"

#include <gtest/gtest.h>

#include "layers/layers.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

TEST(Profile, DearLayersCostMore) {
  const Network network{"two sizes",
                        {{"", flatten_layer()},
                         {"large", linear_layer(4 * 64, 4096)},
                         {"", relu_layer()},
                         {"small", linear_layer(4096, 1)}}};
  const auto plans = network.plan(channels_last(8, 4, 8, 8), 1);
  std::vector<int> done;
  const LayerCosts costs =
      measure_layers(network, plans, 1, [&](int layers) { done.push_back(layers); });
  EXPECT_EQ(done, (std::vector<int>{1, 2, 3, 4}));
  ASSERT_EQ(costs.size(), 4U);
  for (const double seconds : costs) {
    EXPECT_GT(seconds, 0);
    EXPECT_LT(seconds, 1);
  }
  // The only two whose work is of one kind, 256 times as much in one as in the other: a sanitizer
  // or a neighbour slows each of them down, but not one of them a hundred times.
  EXPECT_GT(costs[1], 2 * costs[3]);
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
