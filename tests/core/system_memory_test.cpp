#include "core/system_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
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

TEST(SystemMemory, AnAddressSpaceThatIsLimitedCounts) {
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  std::int64_t pages = 0;
  ASSERT_TRUE(std::ifstream("/proc/self/statm") >> pages);
  struct rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE) + 64 * kMiB);
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &tight), 0);
  struct rlimit now {};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &now), 0);
  const std::int64_t left = available_memory_bytes();
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &before), 0);
  if (now.rlim_cur != tight.rlim_cur) GTEST_SKIP() << "nothing is limited here, as under QEMU";
  EXPECT_LE(left, 64 * kMiB);
  EXPECT_GT(left, 32 * kMiB);
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
