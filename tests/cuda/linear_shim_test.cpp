// The linear layer's operations on a GPU against the CPU's.
#include <gtest/gtest.h>

#include "tests/cuda/linear_cases.h"

namespace stagecoach {
namespace {

using testing::expect_linear_as_on_cpu;
using testing::LinearCase;

class LinearShim : public ::testing::TestWithParam<LinearCase> {};

TEST_P(LinearShim, IsTheCpus) {
  expect_linear_as_on_cpu(GetParam(), Activation::kNone, GradientMode::kOverwrite);
}

TEST_P(LinearShim, AddsToTheGradients) {
  expect_linear_as_on_cpu(GetParam(), Activation::kNone, GradientMode::kAccumulate);
}

TEST_P(LinearShim, AppliesTheReluToTheSum) {
  expect_linear_as_on_cpu(GetParam(), Activation::kRelu, GradientMode::kOverwrite);
}

TEST_P(LinearShim, RepeatsItsBitsOnAnotherContext) {
  const LinearCase& c = GetParam();
  const auto tensors = testing::linear_tensors(c);
  const auto run = testing::linear_run(Activation::kNone, GradientMode::kAccumulate);
  const testing::Values first = testing::on_gpu(tensors, run, c.target());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(testing::on_gpu(tensors, run, c.target()), first);
}

INSTANTIATE_TEST_SUITE_P(Sizes, LinearShim, ::testing::ValuesIn(testing::linear_cases()),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace stagecoach
