// The linear layer where cuBLASLt has no algorithm: only the simulated one can be told so.
#include <gtest/gtest.h>

#include "tests/cuda/linear_cases.h"
#include "tests/kernels/checks.h"
#include "tests/simulated_cuda/products.h"

namespace stagecoach {
namespace {

using cuda::Epilogue;
using cuda::MatrixProduct;
using testing::expect_error;
using testing::kGpu;
using testing::LinearCase;

class SimulatedLinear : public ::testing::TestWithParam<LinearCase> {
 protected:
  ~SimulatedLinear() override { simulated::refuses_product = nullptr; }
};

TEST_P(SimulatedLinear, SumsTheBiasGradientWhereTheLibraryDoesNot) {
  int refused = 0;
  simulated::refuses_product = [&](const MatrixProduct& product) {
    if (product.epilogue != Epilogue::kBiasGradient) return false;
    ++refused;
    return true;
  };
  for (const GradientMode mode : {GradientMode::kOverwrite, GradientMode::kAccumulate}) {
    testing::expect_linear_as_on_cpu(GetParam(), Activation::kNone, mode);
  }
  EXPECT_EQ(refused, 2);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SimulatedLinear, ::testing::ValuesIn(testing::linear_cases()),
                         ::testing::PrintToStringParamName());

// The forward pass with 4 rows, 3 inputs, 2 outputs.
void run_small(std::int64_t workspace_bytes) {
  Context context(Target(1, kGpu));
  const OwnedTensor output(row_major({4, 2}), kGpu), input(row_major({4, 3}), kGpu);
  const OwnedTensor weight(row_major({2, 3}), kGpu), bias(row_major({2}), kGpu);
  const OwnedTensor workspace(row_major({workspace_bytes}, DType::kU8), kGpu);
  context.set_workspace(workspace.tensor);
  linear_forward(context, output.tensor, input.tensor, weight.tensor, bias.tensor);
  context.stream().synchronize();
}

TEST_F(SimulatedLinear, NamesTheProductThatTheLibraryCannotDo) {
  simulated::refuses_product = [](const MatrixProduct&) { return true; };
  expect_error([] { run_small(cuda::kProductWorkspaceBytes); },
               {"linear_forward: expected an algorithm of cuBLASLt for 2 x 4 x 3 in F32, got none",
                "try another micro-batch size or --precision fp32"});
}

TEST_F(SimulatedLinear, NamesTheWorkspaceThatIsTooSmall) {
  expect_error([] { run_small(1024); },
               {"linear_forward", "a workspace of 33554432 bytes", "1024 bytes"});
}

TEST_F(SimulatedLinear, Tf32IsForTensorsInF32WhenAskedFor) {
  const auto tf32 = [](Precision precision, DType dtype) {
    Target target(1, kGpu);
    target.precision = precision;
    return cuda::backward_input_product({4, 3, 2}, dtype, target).tf32;
  };
  EXPECT_FALSE(tf32(Precision::kFp32, DType::kF32));
  EXPECT_TRUE(tf32(Precision::kTf32, DType::kF32));
  EXPECT_FALSE(tf32(Precision::kBf16, DType::kF32));
  EXPECT_FALSE(tf32(Precision::kBf16, DType::kBF16));
}

}  // namespace
}  // namespace stagecoach
