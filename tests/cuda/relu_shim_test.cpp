// ReLU's kernels, run on the CPU, against the CPU's operations.
#include <gtest/gtest.h>

#include "kernels/relu.h"
#include "tests/cuda/both.h"
#include "tests/kernels/checks.h"

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

TEST(ReluShim, SumsTheChannelsOfTheGradient) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const std::int64_t channels : {1, 12, 24}) {
      const TensorSpec spec = channels_last(3, channels, 5, 7, dtype);
      TensorSpec sums = channel_sums_spec(spec);
      // Gradient of the input, of the output; output, sums.
      const auto inputs = random_inputs({spec, spec, spec, sums}, 5);
      const auto apart = on_gpu(inputs, [](Context& context, const std::vector<Tensor>& t) {
        relu_backward(context, t[0], t[1], t[2]);
      });
      const auto together = on_gpu(inputs, [](Context& context, const std::vector<Tensor>& t) {
        relu_backward(context, t[0], t[1], t[2], t[3]);
      });
      EXPECT_EQ(together[0], apart[0]);
      EXPECT_EQ(together[3],
                testing::channel_sums_of(apart[0], static_cast<std::size_t>(channels)));
    }
  }
}

TEST(ReluShim, ChannelSumsAreOfImagesAndOfTheirSize) {
  testing::Gpu gpu;
  const Tensor images = gpu.make(channels_last(1, 8, 4, 5)), rows = gpu.make(row_major({8, 20}));
  const Tensor sums = gpu.make(row_major({1, 8}));
  testing::expect_error([&] { relu_backward(gpu.context(), images, images, images, sums); },
                        {"relu_backward: expected channel_sums F32 [2, 8]", "got F32 [1, 8]"});
  testing::expect_error([&] { relu_backward(gpu.context(), rows, rows, rows, sums); },
                        {"channel_sums: expected a gradient channels_last of rank 4"});
}

}  // namespace
}  // namespace stagecoach
