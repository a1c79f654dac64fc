// Whether something takes time in proportion to its size, on a machine of any speed.
#pragma once

#include <gtest/gtest.h>
#include <time.h>

#include <cstdint>

namespace stagecoach::testing {

// That this thread has computed: what else runs on the machine is not in it.
inline double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// `run` of a size computes in the calling thread. Of eight times the size it would take 64 times as
// long if its time grew with the square, and takes up to 26 times as long where the small one fits
// into a cache.
template <typename Run>
void expect_time_in_proportion(std::int64_t size, const Run& run) {
  const auto seconds_of = [&](std::int64_t of_size) {
    const double start = cpu_seconds();
    run(of_size);
    return cpu_seconds() - start;
  };
  seconds_of(size / 8);  // touches the memory
  const double eighth = seconds_of(size / 8), all = seconds_of(size);
  EXPECT_LT(all, 45 * eighth) << "an eighth of it took " << eighth << " s";
}

}  // namespace stagecoach::testing
