// What only the simulated runtime can be made to do to streams, events and graphs.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "core/graph.h"
#include "kernels/relu.h"
#include "tests/cuda/both.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::expect_error;
using testing::kGpu;

TEST(SimulatedStream, WorksAfterAnotherLibraryHasChangedTheDevice) {
  Context context(Target(1, kGpu));
  const OwnedTensor tensor(row_major({10}), kGpu);
  relu_forward(context, tensor.tensor, tensor.tensor);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  EXPECT_NO_THROW(relu_forward(context, tensor.tensor, tensor.tensor));
  Event done;
  EXPECT_NO_THROW(context.stream().record(done));
  EXPECT_NO_THROW(context.stream().synchronize());
}

TEST(SimulatedEvent, IsReachedWhereItsStreamHasFailed) {
  Context context(Target(1, kGpu));
  Event event;
  context.stream().record(event);
  simulated::fail_next("cudaEventQuery");
  EXPECT_NO_THROW(EXPECT_TRUE(event.reached()));
}

TEST(SimulatedGraph, IsGoneWhereItsUploadFails) {
  Context context(Target(1, kGpu));
  const OwnedTensor tensor(row_major({10}), kGpu);
  relu_forward(context, tensor.tensor, tensor.tensor);
  context.stream().synchronize();  // the tensor goes before the context does
  Stream* streams[] = {&context.stream()};
  const auto capture = [&] {
    return Graph::capture(streams, [&] { relu_forward(context, tensor.tensor, tensor.tensor); });
  };
  const int before = simulated::executable_graphs();
  simulated::fail_next("cudaGraphUpload");
  expect_error(capture, {"cudaGraphUpload"});
  EXPECT_EQ(simulated::executable_graphs(), before);
  const auto graph = capture();
  EXPECT_EQ(simulated::executable_graphs(), before + 1);
}

}  // namespace
}  // namespace stagecoach
