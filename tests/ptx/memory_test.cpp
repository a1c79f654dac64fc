// Every access of a kernel is checked, and an error says whose it was.
#include "tests/ptx/memory.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "tests/ptx/kernels/kernels.h"
#include "tests/ptx/on_gpu.h"
#include "tests/simulated_cuda/tasks.h"

namespace ptx {
namespace {

using testing::Floats;
using testing::OnGpu;
using testing::store;

class PtxMemory : public OnGpu {};

std::string hexadecimal(const float* address) {
  return fmt::format("{:#x}", reinterpret_cast<std::uint64_t>(address));
}

TEST_F(PtxMemory, AStoreBehindTheEndNamesKernelThreadAddressAndAllocation) {
  const Floats memory(100);
  ASSERT_EQ(store(stream, memory.get(), 0, 101, 1.0f), cudaSuccess);
  expect_fault(
      cudaErrorIllegalAddress,
      {"kernel ptx::testing::store_kernel", "thread (4, 0, 0) of block (3, 0, 0) on cuda:0",
       "kernels.cu:", "store of 4 bytes at " + hexadecimal(memory.get() + 100),
       "4 bytes behind the end of allocation", "400 bytes at " + hexadecimal(memory.get())});
}

TEST_F(PtxMemory, AStoreBeforeTheBeginning) {
  const Floats memory(100);
  ASSERT_EQ(store(stream, memory.get(), -1, 10, 1.0f), cudaSuccess);
  expect_fault(cudaErrorIllegalAddress,
               {"store_kernel", "thread (0, 0, 0)", "4 bytes before allocation"});
}

TEST_F(PtxMemory, AnAccessThatOnlyBeginsInTheAllocation) {
  const Floats from(6), to(8);
  ASSERT_EQ(testing::copy_packs(stream, to.get(), from.get(), 2), cudaSuccess);
  expect_fault(cudaErrorIllegalAddress,
               {"load of 16 bytes", "thread (1, 0, 0)", "8 bytes behind the end"});
}

TEST_F(PtxMemory, AnAccessThatIsNotAligned) {
  const Floats from(16), to(16);
  ASSERT_EQ(testing::copy_packs(stream, to.get(), from.get() + 1, 1), cudaSuccess);
  expect_fault(cudaErrorMisalignedAddress,
               {"copy_packs_kernel", "load of 16 bytes", "not a multiple of 16", "allocation"});
}

TEST_F(PtxMemory, MemoryThatWasFreed) {
  Floats memory(100);
  float* address = memory.get();
  memory.free();
  ASSERT_EQ(store(stream, address, 0, 1, 1.0f), cudaSuccess);
  expect_fault(cudaErrorIllegalAddress, {"in allocation", "which was freed"});
}

TEST_F(PtxMemory, TheHostsOwnMemory) {
  std::vector<float> host(100);
  ASSERT_EQ(store(stream, host.data(), 0, 1, 1.0f), cudaSuccess);
  expect_fault(cudaErrorIllegalAddress, {hexadecimal(host.data()), "in the host's own memory"});
}

TEST_F(PtxMemory, AnotherGpusMemoryNeedsPeerAccess) {
  const Floats memory(100, 1);
  ASSERT_EQ(store(stream, memory.get(), 0, 1, 1.0f), cudaSuccess);
  expect_fault(cudaErrorIllegalAddress,
               {"400 bytes", "on cuda:1", "to which cuda:0 has no peer access"});
  ASSERT_EQ(cudaDeviceEnablePeerAccess(1, 0), cudaSuccess);
  EXPECT_EQ(cudaDeviceEnablePeerAccess(1, 0), cudaErrorPeerAccessAlreadyEnabled);
  ASSERT_EQ(store(stream, memory.get(), 0, 100, 7.0f), cudaSuccess);
  EXPECT_EQ(memory.values(stream), std::vector<float>(100, 7.0f));
  EXPECT_EQ(cudaDeviceDisablePeerAccess(1), cudaSuccess);
}

TEST_F(PtxMemory, PeerAccessThatTheMachineHasNot) {
  set_peer_possible(0, 1, false);
  int can = -1;
  EXPECT_EQ(cudaDeviceCanAccessPeer(&can, 0, 1), cudaSuccess);
  EXPECT_EQ(can, 0);
  EXPECT_EQ(cudaDeviceCanAccessPeer(&can, 1, 0), cudaSuccess);
  EXPECT_EQ(can, 1) << "each direction is on its own";
  EXPECT_EQ(cudaDeviceEnablePeerAccess(1, 0), cudaErrorPeerAccessUnsupported);
  set_peer_possible(0, 1, true);
}

TEST_F(PtxMemory, EveryGpuReachesPinnedMemory) {
  void* pinned = nullptr;
  ASSERT_EQ(cudaHostAlloc(&pinned, 400, cudaHostAllocPortable | cudaHostAllocMapped), cudaSuccess);
  auto* floats = static_cast<float*>(pinned);
  ASSERT_EQ(store(stream, floats, 0, 100, 3.0f), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(floats[99], 3.0f);
  ASSERT_EQ(store(stream, floats, 0, 101, 3.0f), cudaSuccess);
  expect_fault(cudaErrorIllegalAddress,
               {"behind the end of allocation", "on pinned memory of the host"});
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

TEST_F(PtxMemory, IsNaNAtFirst) {
  const Floats memory(100);
  for (const float value : memory.values(stream)) EXPECT_TRUE(std::isnan(value));
}

TEST_F(PtxMemory, CopiesAreCheckedToo) {
  const Floats small(10), large(11);
  ASSERT_EQ(cudaMemcpyAsync(large.get(), small.get(), 44, cudaMemcpyDefault, stream), cudaSuccess);
  expect_fault(cudaErrorIllegalAddress, {"a copy: load of 44 bytes", "4 bytes behind the end"});
  const Floats other(10, 1);
  ASSERT_EQ(cudaMemcpyAsync(other.get(), small.get(), 40, cudaMemcpyDefault, stream), cudaSuccess);
  expect_fault(cudaErrorIllegalAddress,
               {"a copy: store of 40 bytes", "on cuda:1", "no peer access"});
  ASSERT_EQ(cudaMemcpyPeerAsync(other.get(), 1, small.get(), 0, 40, stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess) << "such a copy needs none";
}

// As a library may that gets its workspace's size wrong: it asks for the memory it was given.
TEST_F(PtxMemory, ACanaryFindsWhatLibrariesOverwrite) {
  Floats memory(10);
  ASSERT_EQ(simulated::enqueue(stream,
                               [&] {
                                 auto* bytes =
                                     static_cast<char*>(simulated::writable(memory.get(), 40));
                                 bytes[40] = 1;
                               }),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess) << "nobody has looked";
  memory.free();
  expect_fault(cudaErrorIllegalAddress, {"the byte 0 behind the end of allocation", "40 bytes"});
}

TEST_F(PtxMemory, ACanaryFindsWhatTheHostOverwrites) {
  void* pinned = nullptr;
  ASSERT_EQ(cudaHostAlloc(&pinned, 40, cudaHostAllocPortable), cudaSuccess);
  check_canaries();
  EXPECT_EQ(fault_status(), cudaSuccess);
  char& before = *(static_cast<char*>(pinned) - 1);
  const char was = std::exchange(before, 0);
  check_canaries();
  expect_fault(cudaErrorIllegalAddress, {"the bytes before allocation", "pinned"});
  before = was;
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

using PtxMemoryDeathTest = PtxMemory;

TEST_F(PtxMemoryDeathTest, TheHostCannotReadIt) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const Floats memory(100);
  EXPECT_DEATH(
      {
        volatile float value = memory.get()[0];
        static_cast<void>(value);
      },
      "the host touches 0x[0-9a-f]+: memory of a GPU");
}

TEST_F(PtxMemoryDeathTest, AProgramThatDropsAFaultFails) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        store(stream, nullptr, 0, 1, 1.0f);
        cudaStreamSynchronize(stream);
        std::exit(0);
      },
      ::testing::ExitedWithCode(3),
      "ends with a fault of a GPU: kernel ptx::testing::store_kernel");
}

TEST_F(PtxMemory, AGpuHasOnlySoMuch) {
  set_memory_bytes(1000);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 1001), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMalloc(&memory, 600), cudaSuccess);
  std::size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(total, 1000u);
  EXPECT_EQ(free, 400u);
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  set_memory_bytes(std::size_t{8} << 30);
}

}  // namespace
}  // namespace ptx
