#include "core/context.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace stagecoach {
namespace {

TEST(Context, HasAStreamAndThreads) {
  Context context(3);
  EXPECT_EQ(context.threads(), 3);
  EXPECT_EQ(context.pool().threads(), 3);
  EXPECT_EQ(context.device(), Device());
  EXPECT_EQ(context.stream().device(), Device());
  EXPECT_THROW(Context(0), Error);
}

TEST(Context, TasksUseThePoolUntilTheContextEnds) {
  std::atomic<int> runs{0};
  {
    Context context(2);
    for (int i = 0; i < 20; ++i) {
      context.stream().enqueue(
          [&] { context.pool().parallel_for(10, [&](std::int64_t, int) { ++runs; }); });
    }
  }
  EXPECT_EQ(runs.load(), 200);
}

TEST(Context, WorkspaceIsLargeEnoughOrAnError) {
  Context context;
  EXPECT_EQ(context.workspace("conv2d", 0), nullptr);
  EXPECT_THROW(context.workspace("conv2d", 1), Error);
  const Buffer memory(1024);
  context.set_workspace(memory.view(row_major({1024}, DType::kU8)));
  EXPECT_EQ(context.workspace("conv2d", 1024), memory.data());
  try {
    context.workspace("conv2d", 1025);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "conv2d: expected a workspace of 1025 bytes, got 1024 bytes");
  }
}

TEST(CheckTensor, NamesOperationTensorAndBothSpecs) {
  const Context context(1);
  float values[6] = {};
  const Tensor tensor{values, row_major({2, 3}), {}};
  EXPECT_NO_THROW(check_tensor(context, "linear", "input", tensor, row_major({2, 3})));
  const auto message = [&](const Tensor& given, const TensorSpec& expected) -> std::string {
    try {
      check_tensor(context, "linear", "input", given, expected);
    } catch (const Error& error) {
      return error.message();
    }
    return "";
  };
  EXPECT_EQ(message(tensor, row_major({3, 2})),
            "linear: expected input F32 [3, 2], got F32 [2, 3]");
  EXPECT_EQ(message({nullptr, row_major({2, 3}), {}}, row_major({2, 3})),
            "linear: expected input F32 [2, 3], got no memory");
  EXPECT_EQ(message({values, row_major({2, 3}), {DeviceType::kCuda, 0}}, row_major({2, 3})),
            "linear: expected input F32 [2, 3] on cpu, got F32 [2, 3] on cuda:0");
}

}  // namespace
}  // namespace stagecoach
