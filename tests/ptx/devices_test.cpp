// What these GPUs can be made to do, and what they tell.
#include "tests/ptx/devices.h"

#include <chrono>

#include "tests/ptx/kernels/kernels.h"
#include "tests/ptx/on_gpu.h"

namespace ptx {
namespace {

using testing::Floats;
using testing::OnGpu;

class PtxDevices : public OnGpu {};

TEST_F(PtxDevices, TellsOnWhichOfThemThereIsAContext) {
  forget_devices_touched();
  int count = 0;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 2);
  EXPECT_TRUE(devices_touched().empty());
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  EXPECT_EQ(devices_touched(), std::set<int>{1});
  // Of no GPU, and yet there is one on the GPU that is current.
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  forget_devices_touched();
  void* pinned = nullptr;
  EXPECT_EQ(cudaHostAlloc(&pinned, 10, cudaHostAllocPortable), cudaSuccess);
  EXPECT_EQ(devices_touched(), std::set<int>{0});
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
}

TEST_F(PtxDevices, AStreamIsUsedWhereItsGpuIsCurrent) {
  const Floats memory(10);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  EXPECT_EQ(testing::store(stream, memory.get(), 0, 10, 1.0f), cudaErrorInvalidResourceHandle);
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(testing::store(nullptr, memory.get(), 0, 10, 1.0f), cudaErrorInvalidResourceHandle)
      << "the default stream";
}

TEST_F(PtxDevices, ALaunchTakesAsLongAsItIsTold) {
  const Floats memory(10);
  const auto seconds_of_100 = [&](std::chrono::microseconds delay) {
    set_launch_delay(delay);
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 100; ++i) testing::store(stream, memory.get(), 0, 10, 1.0f);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    set_launch_delay(std::chrono::nanoseconds{0});
    return taken.count();
  };
  EXPECT_GE(seconds_of_100(std::chrono::microseconds(500)), 0.05);
}

TEST_F(PtxDevices, TimesCanBeCounted) {
  count_time(true);
  set_launch_delay(std::chrono::milliseconds(7));
  const Floats memory(10);
  cudaEvent_t before = nullptr, after = nullptr;
  for (cudaEvent_t* event : {&before, &after}) {
    ASSERT_EQ(cudaEventCreateWithFlags(event, cudaEventDefault), cudaSuccess);
  }
  EXPECT_EQ(cudaEventRecord(before, stream), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(before), cudaSuccess);
  for (int i = 0; i < 3; ++i) testing::store(stream, memory.get(), 0, 10, 1.0f);
  EXPECT_EQ(cudaEventRecord(after, stream), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(after), cudaSuccess);
  float milliseconds = 0;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, before, after), cudaSuccess);
  EXPECT_NEAR(milliseconds, 3 * 7.001, 1e-4);
  set_launch_delay(std::chrono::nanoseconds{0});
  count_time(false);
}

}  // namespace
}  // namespace ptx
