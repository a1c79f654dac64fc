// Kernels whose threads wait for each other. None of the program's does today.
#include "tests/ptx/warp.h"

#include <cmath>
#include <numeric>

#include "tests/ptx/kernels/kernels.h"
#include "tests/ptx/on_gpu.h"

namespace ptx {
namespace {

using testing::Elements;
using testing::Floats;
using testing::OnGpu;

class PtxWarp : public OnGpu {
 protected:
  std::vector<float> numbers(std::size_t count) {
    std::vector<float> values(count);
    std::iota(values.begin(), values.end(), 1.0f);
    return values;
  }
};

TEST_F(PtxWarp, SumsBlocksByShufflesSharedMemoryAndABarrier) {
  const Floats from(3 * 256), to(3);
  from.fill(numbers(3 * 256), stream);
  ASSERT_EQ(testing::sum_blocks(stream, to.get(), from.get(), 3), cudaSuccess);
  EXPECT_EQ(to.values(stream), (std::vector<float>{32896, 98432, 163968}));
}

TEST_F(PtxWarp, SharedMemoryWhoseSizeTheLaunchSays) {
  const Floats from(512), to(512);
  from.fill(numbers(512), stream);
  ASSERT_EQ(testing::reverse_blocks(stream, to.get(), from.get(), 2), cudaSuccess);
  std::vector<float> expected = numbers(512);
  std::reverse(expected.begin(), expected.begin() + 256);
  std::reverse(expected.begin() + 256, expected.end());
  EXPECT_EQ(to.values(stream), expected);
}

TEST_F(PtxWarp, SharedMemoryHasAnEnd) {
  const Floats from(256), to(256);
  ASSERT_EQ(testing::reverse_blocks(stream, to.get(), from.get(), 1, 1000), cudaSuccess);
  expect_fault(cudaErrorIllegalAddress,
               {"reverse_blocks_kernel", "thread (250, 0, 0)", "store of 4 bytes at 1000",
                "in shared memory of 1000 bytes"});
}

TEST_F(PtxWarp, SharedMemoryIsNaNAtFirst) {
  const Floats to(1);
  ASSERT_EQ(testing::read_shared(stream, to.get()), cudaSuccess);
  EXPECT_TRUE(std::isnan(to.values(stream)[0]));
}

TEST_F(PtxWarp, EachShuffleReadsItsLane) {
  const Elements<unsigned> to(128);
  ASSERT_EQ(testing::shuffle_all(stream, to.get()), cudaSuccess);
  const std::vector<unsigned> lanes = to.values(stream);
  for (unsigned lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(lanes[lane], 105u);
    EXPECT_EQ(lanes[32 + lane], 100 + (lane + 3 < 32 ? lane + 3 : lane)) << lane;
    EXPECT_EQ(lanes[64 + lane], 100 + (lane >= 2 ? lane - 2 : lane)) << lane;
    EXPECT_EQ(lanes[96 + lane], 100 + (lane ^ 1)) << lane;
  }
}

TEST_F(PtxWarp, ABarrierThatNotAllComeTo) {
  const Elements<unsigned> to(64);
  ASSERT_EQ(testing::wait_apart(stream, to.get()), cudaSuccess);
  expect_fault(cudaErrorLaunchTimeout,
               {"wait_apart_kernel", "waits for barrier 2", "to which not all come"});
}

TEST_F(PtxWarp, EachThreadHasLocalMemory) {
  const Elements<int> to(40);
  ASSERT_EQ(testing::read_local(stream, to.get(), 11, 40), cudaSuccess);
  std::vector<int> expected(40);
  std::iota(expected.begin(), expected.end(), 110);
  EXPECT_EQ(to.values(stream), expected);
}

TEST_F(PtxWarp, NoGpuTakesSuchBlocks) {
  const Floats to(1);
  EXPECT_EQ(testing::store(stream, to.get(), 0, 1, 1.0f, 1025), cudaErrorInvalidConfiguration);
  EXPECT_EQ(testing::reverse_blocks(stream, to.get(), to.get(), 1, 228 << 10),
            cudaErrorInvalidConfiguration);
  EXPECT_EQ(testing::store(stream, to.get(), 0, 0, 1.0f), cudaErrorInvalidConfiguration)
      << "no block";
}

}  // namespace
}  // namespace ptx
