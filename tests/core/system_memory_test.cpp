#include "core/system_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "core/buffer.h"
#include "core/error.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

TEST(SystemMemory, AvailableIsAPartOfTheMachine) {
  const std::int64_t machine =
      static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  EXPECT_GT(available_memory_bytes(), 16 * kMiB);
  EXPECT_LT(available_memory_bytes(), machine);
}

// A machine's control groups, as files.
class ControlGroups : public ::testing::Test {
 protected:
  ~ControlGroups() override { std::filesystem::remove_all(root_); }

  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << '\n';
  }
  std::int64_t left() const { return group_memory_bytes(root_, root_ / "self"); }

  const std::filesystem::path root_ =
      std::filesystem::path(::testing::TempDir()) / ("groups" + std::to_string(getpid()));
};

TEST_F(ControlGroups, TheTightestOnTheWayUpDecides) {
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

TEST_F(ControlGroups, OfTheFirstVersionHaveTheirOwnTree) {
  write("self", "5:cpuset,memory:/job\n4:memory_of_others:/other\n0::/");
  write("memory/job/memory.limit_in_bytes", "5000");
  write("memory/job/memory.usage_in_bytes", "3000");
  write("memory/job/memory.stat", "inactive_file 7\ntotal_inactive_file 500");
  EXPECT_EQ(left(), 2500);
}

TEST(SystemMemory, PeakCountsWhatIsTouched) {
  const std::int64_t before = process_peak_bytes();
  EXPECT_GT(before, kMiB);
  {
    const Buffer buffer(before + 64 * kMiB);  // above all that earlier tests had
    EXPECT_LT(process_peak_bytes(), before + 32 * kMiB);
    std::memset(buffer.data(), 1, static_cast<std::size_t>(buffer.bytes()));
    EXPECT_GE(process_peak_bytes(), before + 64 * kMiB);
  }
  EXPECT_GE(process_peak_bytes(), before + 64 * kMiB);  // afterwards too
}

TEST(SystemMemory, RefusesMoreThanIsAvailable) {
  EXPECT_NO_THROW(check_memory("nothing", 0, {}, ""));
  EXPECT_NO_THROW(check_memory("a little", 16 * kMiB, {}, ""));
  try {
    check_memory("the plan", std::int64_t{3} << 40, {}, "use smaller ones");
    FAIL();
  } catch (const Error& error) {
    const std::string& text = error.message();
    EXPECT_TRUE(text.starts_with("memory: expected at most ")) << text;
    EXPECT_TRUE(
        text.ends_with(" GiB, which this machine has left, for the plan, got 3072.0 GiB; "
                       "use smaller ones"))
        << text;
  }
}

}  // namespace
}  // namespace stagecoach
