// The sum's kernel against the CPU's.
#include <gtest/gtest.h>

#include "kernels/add.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::on_cpu;
using testing::on_gpu;

class AddShim : public ::testing::TestWithParam<testing::ElementCase> {};

TEST_P(AddShim, IsTheCpus) {
  const auto [dtype, elements] = GetParam();
  const auto run = [](Context& context, const std::vector<Tensor>& t) {
    add(context, t[0], t[1], t[2]);
    add(context, t[3], t[3], t[1]);
    add(context, t[4], t[4], t[4]);
  };
  const TensorSpec spec = row_major({elements}, dtype);
  const auto inputs = testing::random_inputs({spec, spec, spec, spec, spec}, 5);
  EXPECT_EQ(on_gpu(inputs, run), on_cpu(inputs, run));
}

INSTANTIATE_TEST_SUITE_P(Sizes, AddShim, ::testing::ValuesIn(testing::element_cases()));

}  // namespace
}  // namespace stagecoach
