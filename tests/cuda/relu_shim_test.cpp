// ReLU's kernels, run on the CPU, against the CPU's operations.
#include <gtest/gtest.h>

#include "kernels/relu.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::on_cpu;
using testing::on_gpu;
using testing::random_inputs;

class ReluShim : public ::testing::TestWithParam<testing::ElementCase> {};

TEST_P(ReluShim, IsTheCpus) {
  const auto [dtype, elements] = GetParam();
  const auto run = [](Context& context, const std::vector<Tensor>& t) {
    relu_forward(context, t[0], t[1]);
    relu_backward(context, t[2], t[3], t[0]);
  };
  const TensorSpec spec = row_major({elements}, dtype);
  const auto inputs = random_inputs({spec, spec, spec, spec}, 5);
  EXPECT_EQ(on_gpu(inputs, run), on_cpu(inputs, run));
}

INSTANTIATE_TEST_SUITE_P(Sizes, ReluShim, ::testing::ValuesIn(testing::element_cases()));

}  // namespace
}  // namespace stagecoach
