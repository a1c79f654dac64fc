#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "core/error.h"

namespace stagecoach {
namespace {

TEST(ThreadPool, EveryTaskRunsOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (std::int64_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      pool.parallel_for(tasks, [&](std::int64_t i, int thread) {
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, threads);
        ++runs[static_cast<std::size_t>(i)];
      });
      for (const auto& count : runs) EXPECT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadPool, NoTwoTasksShareAThreadNumberAtATime) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  pool.parallel_for(2000, [&](std::int64_t, int thread) {
    EXPECT_EQ(inside[static_cast<std::size_t>(thread)].fetch_add(1), 0);
    inside[static_cast<std::size_t>(thread)].fetch_sub(1);
  });
}

TEST(ThreadPool, ResultsAreVisibleToTheCaller) {
  ThreadPool pool(3);
  std::vector<int> values(100);
  for (int round = 1; round <= 200; ++round) {
    pool.parallel_for(100, [&](std::int64_t i, int) { values[static_cast<std::size_t>(i)]++; });
    for (int value : values) ASSERT_EQ(value, round);
  }
}

TEST(ThreadPool, ThrowsATasksExceptionAndGoesOn) {
  for (int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 50; ++round) {
      EXPECT_THROW(pool.parallel_for(20,
                                     [](std::int64_t i, int) {
                                       if (i == 13) throw std::out_of_range("thirteen");
                                     }),
                   std::out_of_range);
      std::atomic<int> runs{0};
      pool.parallel_for(20, [&](std::int64_t, int) { ++runs; });
      EXPECT_EQ(runs.load(), 20);
    }
  }
}

TEST(ThreadPool, OneExceptionOfManyIsThrown) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.parallel_for(100, [](std::int64_t, int) { throw std::runtime_error("each"); }),
               std::runtime_error);
}

TEST(ThreadPool, NeedsAThread) {
  EXPECT_THROW(ThreadPool(0), Error);
  EXPECT_THROW(ThreadPool(-2), Error);
}

TEST(ParallelRanges, CoverTheCountWithoutOverlap) {
  ThreadPool pool(2);
  for (std::int64_t count : {0, 1, 9, 10, 11, 100}) {
    std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
    parallel_ranges(pool, count, 10, [&](std::int64_t begin, std::int64_t end, int) {
      EXPECT_EQ(begin % 10, 0);
      EXPECT_LT(begin, end);
      EXPECT_LE(end - begin, 10);
      for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
    });
    for (const auto& times : seen) EXPECT_EQ(times.load(), 1);
  }
}

}  // namespace
}  // namespace stagecoach
