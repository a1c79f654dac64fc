// The permutation's kernel, and the numbers of fill_uniform(), against the CPU's.
#include <gtest/gtest.h>

#include "kernels/permute.h"
#include "kernels/uniform.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::on_cpu;
using testing::on_gpu;
using testing::same_values;

struct Sizes {
  std::int64_t images, channels, height, width;
};

class FormatShim : public ::testing::TestWithParam<std::tuple<DType, Sizes>> {
 protected:
  std::vector<TensorSpec> specs() const {
    const auto& [dtype, s] = GetParam();
    return {row_major({s.images, s.channels, s.height, s.width}, dtype),
            channels_last(s.images, s.channels, s.height, s.width, dtype)};
  }
};

TEST_P(FormatShim, PermuteIsTheCpus) {
  for (const TensorSpec& output : specs()) {
    for (const TensorSpec& input : specs()) {
      const auto run = [](Context& context, const std::vector<Tensor>& t) {
        permute_format(context, t[0], t[1]);
      };
      const auto inputs = testing::random_inputs({output, input}, 31);
      EXPECT_TRUE(same_values(on_gpu(inputs, run), on_cpu(inputs, run)))
          << input.to_string() << " to " << output.to_string();
    }
  }
}

TEST_P(FormatShim, UniformIsTheCpus) {
  for (const TensorSpec& spec : specs()) {
    const auto run = [](Context& context, const std::vector<Tensor>& t) {
      fill_uniform(context, t[0], 0.37f,
                   {.seed = 0xFEDCBA9876543210, .layer = 3, .step = 2, .sample = 5});
    };
    const auto inputs = testing::random_inputs({spec}, 31);
    EXPECT_TRUE(same_values(on_gpu(inputs, run), on_cpu(inputs, run))) << spec.to_string();
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, FormatShim,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                       ::testing::Values(Sizes{3, 256, 6, 6}, Sizes{2, 3, 11, 11},
                                         Sizes{1, 8, 4, 16}, Sizes{2, 12, 5, 7}, Sizes{1, 1, 1, 1},
                                         Sizes{4, 7, 1, 3}, Sizes{1, 40, 1, 1}, Sizes{2, 72, 9, 8},
                                         Sizes{2, 72, 9, 9})));

}  // namespace
}  // namespace stagecoach
