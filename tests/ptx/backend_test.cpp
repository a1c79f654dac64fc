// What core's memory and graphs do on these GPUs.
#include <gtest/gtest.h>

#include "core/context.h"
#include "core/copy.h"
#include "core/error.h"
#include "core/graph.h"
#include "tests/ptx/on_gpu.h"

namespace stagecoach {
namespace {

constexpr Device kFirst{DeviceType::kCuda, 0}, kSecond{DeviceType::kCuda, 1};

class PtxBackend : public ptx::testing::OnGpu {};

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

}  // namespace
}  // namespace stagecoach
