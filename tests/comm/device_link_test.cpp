#include "comm/device_link.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/forked/forked_world.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

// No transport of this program is for CPUs, whose messages the World carries itself.
TEST(DeviceLinks, RefusesADeviceWithoutATransport) {
  EXPECT_EQ(testing::run_forked(1,
                                [](World& world) {
                                  testing::expect_error([&] { make_device_links(world, Device{}); },
                                                        {"a transport between processes for cpu",
                                                         "none in this program"});
                                }),
            std::vector<int>{0});
}

}  // namespace
}  // namespace stagecoach
