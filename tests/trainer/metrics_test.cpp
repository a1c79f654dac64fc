#include "trainer/metrics.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

fs::path temporary(const std::string& name) {
  return fs::path(::testing::TempDir()) / (std::to_string(::getpid()) + "_" + name);
}

std::vector<std::string> lines_of(std::istream& stream) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> lines_of(const fs::path& file) {
  std::ifstream stream(file);
  return lines_of(stream);
}

// What a run of `steps` steps prints to stderr, which is a file here.
std::vector<std::string> printed(std::int64_t steps, bool quiet,
                                 const std::vector<std::int64_t>& evaluated = {}) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress(steps, quiet);
    for (std::int64_t step = 1; step <= steps; ++step) {
      StepMetrics metrics{step, 2.3, 0.1, 40.0, {}};
      for (std::int64_t e : evaluated) {
        if (e == step) metrics.test_accuracy = 0.25;
      }
      progress.update(metrics);
    }
  }
  std::istringstream text(::testing::internal::GetCapturedStderr());
  return lines_of(text);
}

TEST(MetricsFile, OneObjectALine) {
  const fs::path file = temporary("metrics.jsonl");
  {
    MetricsFile metrics(file);
    EXPECT_FALSE(fs::exists(file));  // before any step
    metrics.write({1, 2.5, 0.125, 40.5, {}});
    EXPECT_EQ(lines_of(file).size(), 1u);  // flushed
    StepMetrics second{2, 2.25, 0.5, 41, 0.75};
    second.learning_rate = 0.01;
    second.gradient_norm = 3.5;
    metrics.write(second);
  }
  const auto lines = lines_of(file);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], R"({"step":1,"loss":2.5,"accuracy":0.125,"images_per_second":40.5,)"
                      R"("learning_rate":0.0})");
  EXPECT_EQ(nlohmann::json::parse(lines[1]),
            nlohmann::json::parse(R"({"step":2,"loss":2.25,"accuracy":0.5,"images_per_second":41.0,
                                      "learning_rate":0.01,"gradient_norm":3.5,
                                      "test_accuracy":0.75})"));
  fs::remove(file);
}

TEST(MetricsFile, LossesKeepEveryBit) {
  const fs::path file = temporary("bits.jsonl");
  const double loss = 2.302585092994045684;
  MetricsFile(file).write({1, loss, 0, 0, {}});
  EXPECT_EQ(nlohmann::json::parse(lines_of(file).at(0))["loss"].get<double>(), loss);
  fs::remove(file);
}

TEST(MetricsFile, WhatIsNoNumberIsNull) {
  const fs::path file = temporary("nan.jsonl");
  MetricsFile(file).write({1, std::nan(""), 0, std::numeric_limits<double>::infinity(), {}});
  const auto line = nlohmann::json::parse(lines_of(file).at(0));
  EXPECT_TRUE(line["loss"].is_null());
  EXPECT_TRUE(line["images_per_second"].is_null());
  fs::remove(file);
}

TEST(MetricsFile, ReplacesAnOldRunWithItsFirstLine) {
  const fs::path file = temporary("old.jsonl");
  for (int step = 1; step <= 3; ++step) MetricsFile(file).write({step, 1, 1, 1, {}});
  ASSERT_EQ(lines_of(file).size(), 1u);
  EXPECT_EQ(nlohmann::json::parse(lines_of(file)[0])["step"], 3);
  MetricsFile{file};
  EXPECT_EQ(lines_of(file).size(), 1u);
  fs::remove(file);
}

// No training ends for a line; whoever reads the file is told that lines are missing.
TEST(MetricsFile, RemembersWhyItEnded) {
  const fs::path missing = temporary("missing") / "metrics.jsonl";
  MetricsFile nowhere(missing);
  EXPECT_EQ(nowhere.failure(), "");
  nowhere.write({});
  EXPECT_NE(nowhere.failure().find(missing.string()), std::string::npos) << nowhere.failure();
  MetricsFile full("/dev/full");
  full.write({7, 1, 1, 1, {}});
  full.write({8, 1, 1, 1, {}});
  EXPECT_NE(full.failure().find("step 7 to '/dev/full'"), std::string::npos) << full.failure();
  EXPECT_NE(full.failure().find("No space left on device"), std::string::npos) << full.failure();
}

TEST(MetricsFile, NoNameWritesNothing) {
  EXPECT_NO_THROW(MetricsFile("").write({}));
}

TEST(ProgressText, ShowsEverything) {
  EXPECT_EQ(progress_text({7, 2.30259, 0.125, 43.21, {}}, 20, 18.6),
            "step  7/20  loss   2.3026  accuracy  12.5 %      43.2 images/s      0:19 left");
  EXPECT_EQ(progress_text({1000, 0.5, 1, 1234.5, 0.456}, 1000, 0),
            "step 1000/1000  loss   0.5000  accuracy 100.0 %    1234.5 images/s      0:00 left"
            "  test 45.6 %");
}

TEST(ProgressText, ColumnsAreStable) {
  const std::size_t width = progress_text({1, 2.3, 0, 1, {}}, 5000, 1).size();
  EXPECT_EQ(progress_text({5000, 123.4, 1, 99999.9, {}}, 5000, 36000 + 62).size(), width);
  EXPECT_NE(progress_text({1, 2, 0, 1, {}}, 2, 36000 + 62).find("10:01:02 left"),
            std::string::npos);
  EXPECT_NE(progress_text({1, std::nan(""), 0, 1, {}}, 2, 1).find("nan"), std::string::npos);
}

TEST(ProgressText, LeavesOutWhatDoesNotFit) {
  const auto text = [](std::size_t columns) {
    return progress_text({7, 2.30259, 0.125, 43.21, 0.456}, 5000, 18.6, columns);
  };
  EXPECT_EQ(text(1000).size(), 94u);
  EXPECT_EQ(text(94), text(1000));
  EXPECT_EQ(text(93),
            "step    7/5000  loss   2.3026  accuracy  12.5 %      0:19 left  test 45.6 %");
  EXPECT_EQ(text(74), "step    7/5000  loss   2.3026      0:19 left  test 45.6 %");
  EXPECT_EQ(text(56), "step    7/5000  loss   2.3026  test 45.6 %");
  EXPECT_EQ(text(20), "step    7/5000  loss");
}

TEST(Progress, AFewPlainLinesWithoutATerminal) {
  EXPECT_EQ(printed(3, false).size(), 3u);
  EXPECT_EQ(printed(20, false).size(), 20u);
  const auto lines = printed(1000, false);
  EXPECT_LE(lines.size(), 22u);
  EXPECT_GE(lines.size(), 15u);
  EXPECT_EQ(lines.front().rfind("step    1/1000", 0), 0u) << lines.front();
  EXPECT_EQ(lines.back().rfind("step 1000/1000", 0), 0u) << lines.back();
  for (const std::string& line : lines) {
    EXPECT_EQ(line.find_first_of("\r\x1b"), std::string::npos) << line;
  }
}

TEST(Progress, QuietPrintsNothing) {
  EXPECT_TRUE(printed(50, true, {7}).empty());
}

TEST(Progress, EvaluationsAlwaysGetALine) {
  const auto lines = printed(1000, false, {7});
  EXPECT_EQ(lines.at(1).rfind("step    7/1000", 0), 0u);
  EXPECT_NE(lines.at(1).find("test 25.0 %"), std::string::npos);
}

// The same on a terminal: a pseudo-terminal takes the place of stderr.
TEST(Progress, RewritesOneLineOnATerminal) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0) GTEST_SKIP() << "no pseudo-terminals here";
  ASSERT_EQ(::grantpt(terminal), 0);
  ASSERT_EQ(::unlockpt(terminal), 0);
  const int user_side = ::open(::ptsname(terminal), O_RDWR | O_NOCTTY);
  ASSERT_GE(user_side, 0);
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(user_side, STDERR_FILENO);
  {
    Progress progress(4, false);
    progress.update({1, 2.3, 0, 40, {}});
    progress.update({2, 2.2, 0, 40, 0.5});
    progress.update({3, 2.1, 0, 40, {}});
    progress.finish_line();
    progress.finish_line();
  }
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  char buffer[4096];
  std::string text;
  // What was written arrives bit by bit; nothing more comes behind the second line.
  pollfd readable{terminal, POLLIN, 0};
  while (std::count(text.begin(), text.end(), '\n') < 2 && ::poll(&readable, 1, 5000) > 0) {
    const ssize_t count = ::read(terminal, buffer, sizeof(buffer));
    if (count <= 0) break;
    text.append(buffer, static_cast<std::size_t>(count));
  }
  ::close(user_side);
  ::close(terminal);
  EXPECT_EQ(text.rfind("\rstep 1/4", 0), 0u) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;  // after step 2 and at the end
  EXPECT_NE(text.find("test 50.0 %\x1b[K\r\n\rstep 3/4"), std::string::npos) << text;
}

}  // namespace
}  // namespace stagecoach
