// What core's memory, clock and graphs do on these GPUs.
#include <gtest/gtest.h>

#include <thread>

#include "bench/timed_calls.h"
#include "core/copy.h"
#include "core/device_backend.h"
#include "core/error.h"
#include "tests/ptx/on_gpu.h"

namespace stagecoach {
namespace {

using std::chrono::milliseconds;

constexpr Device kFirst{DeviceType::kCuda, 0}, kSecond{DeviceType::kCuda, 1};

class PtxBackend : public ptx::testing::OnGpu {
 protected:
  ~PtxBackend() override {
    ptx::set_launch_delay(std::chrono::nanoseconds{0});
    ptx::set_wake_delay(std::chrono::nanoseconds{0});
    ptx::count_time(false);
  }
};

TEST_F(PtxBackend, PinnedMemoryIsMadeByItsOwnGpu) {
  ptx::forget_devices_touched();
  const Buffer memory = Buffer::pinned(64, kSecond);
  EXPECT_EQ(ptx::devices_touched(), std::set<int>{1});
}

TEST_F(PtxBackend, ACaptureThatFailsOnAnotherGpuEnds) {
  Context first(Target(1, kFirst)), second(Target(1, kSecond));
  const OwnedTensor from(row_major({10}), kSecond), to(row_major({10}), kSecond);
  Stream* streams[] = {&first.stream(), &second.stream()};
  const auto work = [&] { copy(second.stream(), to.tensor, from.tensor); };
  const auto fail = [&] {
    work();
    throw Error("here", "this", "that");
  };
  EXPECT_THROW(Graph::capture(streams, fail), Error);
  EXPECT_NO_THROW(Graph::capture(streams, work));
}

// Three times of four, the host goes on 120 ms after the event that it has waited for.
TEST_F(PtxBackend, TheClockDoesNotTakeALateWakeUpForTheGpus) {
  ptx::set_wake_delay(milliseconds(120));
  std::this_thread::sleep_for(milliseconds(1100));
  for (const Device device : {kFirst, kSecond}) {
    const auto gpu = Stream::create(device);
    device_backend(device).read_clock(device);
    Event event;
    const Clock::time_point before = Clock::now();
    gpu->record(event, EventUse::kTime);
    gpu->synchronize();
    const Clock::time_point after = Clock::now();
    EXPECT_GT(event.time(), before - milliseconds(45));
    EXPECT_LT(event.time(), after + milliseconds(45));
  }
}

// The times of a step's events are asked for over a while, in which the clock is not read anew.
TEST_F(PtxBackend, TheTimeOfAnEventStaysUntilTheClockIsRead) {
  const auto gpu = Stream::create(kFirst);
  device_backend(kFirst).read_clock(kFirst);
  Event first, second;
  gpu->record(first, EventUse::kTime);
  gpu->record(second, EventUse::kTime);
  gpu->synchronize();
  const Clock::time_point before = first.time();
  std::this_thread::sleep_for(milliseconds(1100));
  EXPECT_EQ(first.time(), before);
  EXPECT_NEAR(std::chrono::duration<double>(second.time() - before).count(),
              second.seconds_since(first), 1e-6);
}

TEST_F(PtxBackend, ABenchmarkTimesWhatTheGpuRuns) {
  Context context(Target(1, kFirst));
  const OwnedTensor from(row_major({10}), kFirst), to(row_major({10}), kFirst);
  const auto operation = [&] { copy(context.stream(), to.tensor, from.tensor); };
  operation();
  ptx::count_time(true);
  ptx::set_launch_delay(milliseconds(20));
  TimedCalls calls(context, operation);
  for (int i = 0; i < 2; ++i) EXPECT_NEAR(calls.seconds_per_call(), 1e-6, 1e-9);
}

}  // namespace
}  // namespace stagecoach
