#include "trainer/cli/words.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::expect_error;

TEST(Words, DevicesAreCpuOrGpusByNumberEachOnce) {
  for (const char* text : {"gpu", "cuda:", "cuda:0,", "cuda:,1", "cuda:x", "cuda:-1", "cuda:1,1",
                           "cuda:99999999999"}) {
    expect_error([&] { device_of("test", text); }, {"cuda:0,1, each once", text});
  }
  EXPECT_EQ(device_of("test", "cuda").gpus, std::vector<int>{});
  EXPECT_EQ(device_of("test", "cuda:3,0").gpus, (std::vector<int>{3, 0}));
}

}  // namespace
}  // namespace stagecoach
