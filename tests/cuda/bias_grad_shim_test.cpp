// The bias gradient's kernel against sums in double.
#include <gtest/gtest.h>

#include "kernels/cuda/operations.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::Gpu;
using testing::same_values;

class BiasGradShim
    : public ::testing::TestWithParam<std::tuple<DType, std::int64_t, std::int64_t>> {
 protected:
  DType dtype() const { return std::get<0>(GetParam()); }
  std::int64_t rows() const { return std::get<1>(GetParam()); }
  std::int64_t channels() const { return std::get<2>(GetParam()); }

  // The sums over the rows of `values`, and of their magnitudes.
  std::vector<double> sums(const std::vector<float>& values, bool of_magnitudes = false) const {
    std::vector<double> result(static_cast<std::size_t>(channels()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      result[i % result.size()] += of_magnitudes ? std::abs(values[i]) : values[i];
    }
    return result;
  }

  // On memory that holds NaN, of which what is behind the workspace stays so; with `start` in the
  // result before.
  std::vector<float> run(const Tensor& output_grad, GradientMode mode, float start) const {
    Gpu gpu;
    const std::vector<float> before(static_cast<std::size_t>(channels()), start);
    const std::int64_t bytes = cuda::bias_grad_workspace_bytes(rows(), channels());
    const auto floats = static_cast<std::size_t>(bytes) / sizeof(float);
    const Tensor workspace = gpu.put(std::vector<float>(floats + 8, std::nanf("")));
    const Tensor result = gpu.put(before);
    cuda::bias_grad(gpu.context(), result, gpu.put(output_grad), mode, workspace.data);
    const std::vector<float> after = gpu.get(workspace);
    for (std::size_t i = 0; i < after.size(); ++i) {
      EXPECT_EQ(std::isnan(after[i]), i >= floats) << i;
    }
    return gpu.get(result);
  }
};

// One addition after another loses at most half a unit in the last place of the sum so far; there
// are three levels of at most 64 here, the first of 16.
TEST_P(BiasGradShim, IsTheSumInDouble) {
  const auto inputs = testing::random_inputs({row_major({rows(), channels()}, dtype())}, 51);
  const std::vector<float> values = testing::values_of(inputs[0].tensor);
  const std::vector<double> expected = sums(values), magnitudes = sums(values, true);
  const std::vector<float> got = run(inputs[0].tensor, GradientMode::kOverwrite, std::nanf(""));
  for (std::size_t c = 0; c < got.size(); ++c) {
    EXPECT_NEAR(got[c], expected[c], std::ldexp(magnitudes[c], -24) * 8) << c;
  }
  EXPECT_TRUE(same_values(run(inputs[0].tensor, GradientMode::kOverwrite, std::nanf("")), got));
}

// Integers have no rounding: every row counts, and counts once.
TEST_P(BiasGradShim, AddsEveryRowOnce) {
  OwnedTensor tensor(row_major({rows(), channels()}, dtype()));
  for (std::int64_t i = 0; i < tensor.tensor.elements(); ++i) {
    const auto value = static_cast<float>(i * 31 % 17 - 8);
    if (dtype() == DType::kF32) tensor.tensor.as<float>()[i] = value;
    if (dtype() == DType::kBF16) tensor.tensor.as<BFloat16>()[i] = BFloat16(value);
  }
  const std::vector<double> exact = sums(testing::values_of(tensor.tensor));
  const std::vector<float> written = run(tensor.tensor, GradientMode::kOverwrite, 5.0f);
  const std::vector<float> added = run(tensor.tensor, GradientMode::kAccumulate, 5.0f);
  for (std::size_t c = 0; c < exact.size(); ++c) {
    EXPECT_EQ(written[c], exact[c]) << c;
    EXPECT_EQ(added[c], exact[c] + 5.0) << c;
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, BiasGradShim,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::Values(1, 15, 16, 17, 1024, 1025, 9000,
                                                              70000),
                                            ::testing::Values(1, 10, 12, 64)));

TEST(BiasGradShim, ImagesAreRowsOfPixels) {
  Gpu gpu;
  const OwnedTensor images = testing::random_tensor(channels_last(3, 8, 5, 7), 1);
  Tensor rows = images.tensor;
  rows.spec = row_major({3 * 5 * 7, 8});
  const Tensor workspace = gpu.make(row_major({cuda::bias_grad_workspace_bytes(105, 8) / 4}));
  const Tensor a = gpu.make(row_major({8})), b = gpu.make(row_major({8}));
  cuda::bias_grad(gpu.context(), a, gpu.put(images.tensor), GradientMode::kOverwrite,
                  workspace.data);
  cuda::bias_grad(gpu.context(), b, gpu.put(rows), GradientMode::kOverwrite, workspace.data);
  EXPECT_EQ(gpu.get(a), gpu.get(b));
}

}  // namespace
}  // namespace stagecoach
