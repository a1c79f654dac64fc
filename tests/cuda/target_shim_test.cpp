// check_target() on the GPU that there is.
#include <gtest/gtest.h>

#include "core/device_backend.h"
#include "kernels/target.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

TEST(TargetShim, TakesTheGpuThatTheTestsRunOn) {
  Target target(1, testing::kGpu);
  check_target(target);
  target.device.index = device_backend(DeviceType::kCuda).device_count();
  EXPECT_THROW(check_target(target), std::exception);
}

}  // namespace
}  // namespace stagecoach
