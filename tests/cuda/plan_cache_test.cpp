#include "kernels/cuda/plan_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "core/log.h"
#include "tests/scratch_folder.h"

namespace stagecoach::cuda {
namespace {

namespace fs = std::filesystem;

const EngineChoice kFirst = {41, {{2, 5}, {13, 0}, {27, -1}}};
const EngineChoice kSecond = {0, {}};

// What `call` logs.
std::string logged(const std::function<void()>& call) {
  const auto before = spdlog::default_logger();
  ::testing::internal::CaptureStderr();
  initialize_log(false);
  call();
  spdlog::set_default_logger(before);
  return ::testing::internal::GetCapturedStderr();
}

class PlanCacheTest : public ::testing::Test {
 protected:
  void write(const std::string& text) {
    fs::create_directories(folder_);
    std::ofstream(file()) << text;
  }
  fs::path file() const { return folder_ / "cudnn_plans.json"; }
  const testing::ScratchFolder scratch_;
  const fs::path& folder_ = scratch_.path();
};

TEST_F(PlanCacheTest, KeepsChoicesInItsFile) {
  PlanCache cache(file());
  EXPECT_EQ(cache.find("a"), std::nullopt);
  cache.store("a", kSecond);
  cache.store("a", kFirst);
  cache.store("b", kSecond);
  EXPECT_EQ(cache.find("a"), kFirst);
  const PlanCache again(file());
  EXPECT_EQ(again.find("a"), kFirst);
  EXPECT_EQ(again.find("b"), kSecond);
  EXPECT_EQ(again.find("c"), std::nullopt);
}

TEST_F(PlanCacheTest, KeepsWhatAnotherProcessAdded) {
  PlanCache one(file());
  PlanCache other(file());
  one.store("a", kFirst);
  other.store("b", kSecond);
  EXPECT_EQ(PlanCache(file()).find("a"), kFirst);
  EXPECT_EQ(PlanCache(file()).find("b"), kSecond);
}

TEST_F(PlanCacheTest, LosesNothingWhenSeveralTuneAtATime) {
  constexpr int kThreads = 4, kPlans = 10;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      PlanCache cache(file());
      for (int i = 0; i < kPlans; ++i) cache.store(fmt::format("{} {}", t, i), kFirst);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const PlanCache all(file());
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < kPlans; ++i) {
      EXPECT_TRUE(all.find(fmt::format("{} {}", t, i)).has_value()) << t << ", " << i;
    }
  }
}

TEST_F(PlanCacheTest, IgnoresDamagedAndForeignFilesWithAWarning) {
  PlanCache(file()).store("a", kFirst);
  std::ifstream stream(file());
  const nlohmann::json good = nlohmann::json::parse(stream);
  std::vector<std::string> bad = {"",
                                  "{",
                                  "[]",
                                  "{}",
                                  "not JSON",
                                  good.dump().substr(0, 60),
                                  std::string("\0\xff\xfe", 3),
                                  R"({"format": 7, "plans": {}})"};
  const auto changed = [&](const char* pointer, const nlohmann::json& value) {
    nlohmann::json json = good;
    json[nlohmann::json::json_pointer(pointer)] = value;
    bad.push_back(json.dump());
  };
  changed("/format", "stagecoach cudnn plans 2");
  changed("/plans", 3);
  changed("/plans/a", nullptr);
  changed("/plans/a/engine", "fast");
  changed("/plans/a/knobs", {1, 2});
  changed("/plans/a/knobs/0", {1});
  for (const std::string& text : bad) {
    write(text);
    const std::string log =
        logged([&] { EXPECT_EQ(PlanCache(file()).find("a"), std::nullopt) << text; });
    EXPECT_NE(log.find("are ignored"), std::string::npos) << text << "\n" << log;
  }
}

TEST_F(PlanCacheTest, ReplacesADamagedFile) {
  write("{");
  logged([&] { PlanCache(file()).store("a", kFirst); });
  EXPECT_EQ(logged([&] { EXPECT_EQ(PlanCache(file()).find("a"), kFirst); }), "");
}

TEST_F(PlanCacheTest, WarnsWhereItCannotWrite) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "in_the_way");
  PlanCache cache(folder_ / "in_the_way" / "cudnn_plans.json");
  const std::string log = logged([&] { cache.store("a", kFirst); });
  EXPECT_NE(log.find("are not kept"), std::string::npos) << log;
  EXPECT_EQ(cache.find("a"), kFirst);
}

TEST_F(PlanCacheTest, WithoutAFileItKeepsToItself) {
  PlanCache cache{fs::path()};
  cache.store("a", kFirst);
  EXPECT_EQ(cache.find("a"), kFirst);
}

TEST(PlanCacheKey, ChangesWithEverythingThatAPlanDependsOn) {
  const ConvProblem problem{.kind = ConvKind::kForwardRelu,
                            .precision = Precision::kBf16,
                            .n = 32,
                            .c = 48,
                            .h = 57,
                            .w = 58,
                            .o = 64,
                            .kh = 3,
                            .kw = 5,
                            .stride_h = 1,
                            .stride_w = 2,
                            .padding_h = 0,
                            .padding_w = 4};
  EXPECT_EQ(plan_cache_key("9.19.0", "NVIDIA H100 80GB HBM3, 132 SMs", problem),
            "cuDNN 9.19.0 | NVIDIA H100 80GB HBM3, 132 SMs | forward_relu bf16 deterministic "
            "x=32,48,57,58 w=64,48,3,5 stride=1,2 padding=0,4");
  ConvProblem any_order = problem;
  any_order.deterministic = false;
  EXPECT_NE(any_order.key(), problem.key());
}

TEST(PlanCacheFile, IsInTheCacheFolder) {
  const char* before = std::getenv("XDG_CACHE_HOME");
  const std::string saved = before != nullptr ? before : "";
  const std::string home = std::getenv("HOME") != nullptr ? std::getenv("HOME") : "";
  ::setenv("XDG_CACHE_HOME", "/somewhere", 1);
  EXPECT_EQ(plan_cache_file(), "/somewhere/stagecoach/cudnn_plans.json");
  ::setenv("XDG_CACHE_HOME", "relative/is/ignored", 1);
  EXPECT_EQ(plan_cache_file(),
            home.empty() ? fs::path() : fs::path(home) / ".cache/stagecoach/cudnn_plans.json");
  if (before != nullptr) {
    ::setenv("XDG_CACHE_HOME", saved.c_str(), 1);
  } else {
    ::unsetenv("XDG_CACHE_HOME");
  }
}

}  // namespace
}  // namespace stagecoach::cuda
