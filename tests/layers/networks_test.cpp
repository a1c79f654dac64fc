#include "layers/networks.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

TEST(Networks, EachTakesItsSmallestImage) {
  for (const NetworkEntry& entry : networks()) {
    const Network network = network_of(entry.name).make({.classes = 7, .dropout = 0.1f});
    const std::int64_t side = entry.smallest_image;
    const auto plans = network.plan(channels_last(2, 3, side, side), 1);
    EXPECT_EQ(plans[plans.size() - 2].outputs[0], row_major({2, 7})) << entry.name;
    EXPECT_THROW(network.plan(channels_last(2, 3, side - 1, side - 1), 1), Error) << entry.name;
  }
}

TEST(Networks, SaysWhichThereAre) {
  testing::expect_error([] { network_of("alexnett"); },
                        {"network", "one of alexnet", "'alexnett'"});
}

}  // namespace
}  // namespace stagecoach
