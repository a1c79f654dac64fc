#include "core/log.h"

#include <gtest/gtest.h>

#include <functional>

namespace stagecoach {
namespace {

std::string logged(bool quiet, const std::function<void()>& call) {
  const auto before = spdlog::default_logger();
  ::testing::internal::CaptureStderr();
  initialize_log(quiet);
  call();
  spdlog::set_default_logger(before);
  return ::testing::internal::GetCapturedStderr();
}

TEST(Log, LinesSayWhoAndHowBad) {
  EXPECT_EQ(logged(false, [] { spdlog::info("epoch {}", 3); }), "stagecoach: epoch 3\n");
  EXPECT_EQ(logged(false, [] { spdlog::warn("slow"); }), "stagecoach: warning: slow\n");
  EXPECT_EQ(logged(false, [] { spdlog::error("bad"); }), "stagecoach: error: bad\n");
}

TEST(Log, QuietKeepsWarnings) {
  EXPECT_EQ(logged(true,
                   [] {
                     spdlog::info("not shown");
                     spdlog::warn("shown");
                   }),
            "stagecoach: warning: shown\n");
}

}  // namespace
}  // namespace stagecoach
