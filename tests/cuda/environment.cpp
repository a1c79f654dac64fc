// These tests need a GPU: without one they are skipped, and the reason is printed. With
// STAGECOACH_REQUIRE_GPU=1 in the environment they fail instead.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

#include "core/device_backend.h"

namespace stagecoach {
namespace {

class NeedsGpu : public ::testing::Environment {
  void SetUp() override {
    std::string why;
    if (device_backend(DeviceType::kCuda).device_count(&why) > 0) return;
    const char* required = std::getenv("STAGECOACH_REQUIRE_GPU");
    if (required != nullptr && std::string_view(required) == "1") {
      // At once: a test that only failed here would also be listed as skipped, and ctest believes
      // that.
      std::cerr << "STAGECOACH_REQUIRE_GPU=1, but there is no GPU: " << why << '\n';
      std::exit(1);
    }
    // The line by which ctest knows a test that was skipped.
    GTEST_SKIP() << "[  SKIPPED ] no GPU: " << why;
  }
};

[[maybe_unused]] const auto* const kEnvironment = ::testing::AddGlobalTestEnvironment(new NeedsGpu);

}  // namespace
}  // namespace stagecoach
