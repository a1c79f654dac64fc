#include "core/control_group.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <limits>
#include <string>

namespace stagecoach {
namespace {

// A machine's control groups, as files.
class ControlGroupTest : public ::testing::Test {
 protected:
  ~ControlGroupTest() override { std::filesystem::remove_all(root_); }

  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << '\n';
  }
  std::int64_t left() const { return group_memory_bytes({root_, root_ / "self"}); }
  double cores() const { return group_cores({root_, root_ / "self"}); }

  const std::filesystem::path root_ =
      std::filesystem::path(::testing::TempDir()) / ("groups" + std::to_string(getpid()));
};

TEST_F(ControlGroupTest, TheTightestOnTheWayUpDecides) {
  EXPECT_EQ(left(), std::numeric_limits<std::int64_t>::max());
  write("self", "1:cpu:/\n0::/job/step");
  write("job/memory.max", "5000");
  write("job/memory.current", "1000");
  EXPECT_EQ(left(), 4000);
  write("job/memory.stat", "anon 900\ninactive_file 100");
  EXPECT_EQ(left(), 4100);
  write("job/step/memory.max", "max");
  write("job/step/memory.current", "900");
  EXPECT_EQ(left(), 4100);
  write("job/step/memory.max", "1500");
  EXPECT_EQ(left(), 600);
  write("job/step/memory.max", "700");
  EXPECT_EQ(left(), 0);
  write("self", "0::/nowhere/here");
  EXPECT_EQ(left(), std::numeric_limits<std::int64_t>::max());
  write("memory.max", "300");
  write("memory.current", "100");
  EXPECT_EQ(left(), 200);
}

TEST_F(ControlGroupTest, OfTheFirstVersionHaveTheirOwnTree) {
  write("self", "5:cpuset,memory:/job\n4:memory_of_others:/other\n0::/");
  write("memory/job/memory.limit_in_bytes", "5000");
  write("memory/job/memory.usage_in_bytes", "3000");
  write("memory/job/memory.stat", "inactive_file 7\ntotal_inactive_file 500");
  EXPECT_EQ(left(), 2500);
}

TEST_F(ControlGroupTest, CoresAreTheTightestQuota) {
  EXPECT_GT(cores(), 1e9);
  write("self", "0::/job/step");
  write("job/cpu.max", "max 100000");
  write("job/step/cpu.max", "150000 100000");
  EXPECT_EQ(cores(), 1.5);
  write("job/cpu.max", "50000 100000");
  EXPECT_EQ(cores(), 0.5);
  write("job/cpu.max", "nonsense");
  EXPECT_EQ(cores(), 1.5);
}

TEST_F(ControlGroupTest, CoresOfTheFirstVersion) {
  write("self", "3:cpu,cpuacct:/job");
  write("cpu/cpu.cfs_quota_us", "-1");
  write("cpu/cpu.cfs_period_us", "100000");
  EXPECT_GT(cores(), 1e9);
  write("cpu/job/cpu.cfs_quota_us", "300000");
  write("cpu/job/cpu.cfs_period_us", "100000");
  EXPECT_EQ(cores(), 3);
}

TEST_F(ControlGroupTest, APathOutOfTheContainerEndsAtItsTop) {
  write("self", "0::/../../other");
  write("memory.max", "10");
  write("memory.current", "3");
  write("other/memory.max", "1");
  write("other/memory.current", "1");
  EXPECT_EQ(left(), 7);
}

}  // namespace
}  // namespace stagecoach
