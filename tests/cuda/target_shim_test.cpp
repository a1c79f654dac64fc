// check_target() on the GPU that there is.
#include <gtest/gtest.h>

#include "core/cuda/backend.h"
#include "kernels/cuda/operations.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

TEST(TargetShim, TakesTheGpuThatTheTestsRunOn) {
  Target target(1, testing::kGpu);
  cuda::check_target(target);
  target.device.index = cuda::device_count();
  EXPECT_THROW(cuda::check_target(target), std::exception);
}

}  // namespace
}  // namespace stagecoach
