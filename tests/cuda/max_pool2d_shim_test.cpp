// Max pooling's kernels against the CPU's, and the pool after a ReLU against pool and ReLU.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/max_pool2d.h"
#include "kernels/relu.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::Gpu;
using testing::on_cpu;
using testing::on_gpu;
using testing::random_inputs;
using testing::same_values;

struct Case {
  std::int64_t images, channels, height, width;
  MaxPool2dOptions options;
};
constexpr Case kCases[] = {
    {2, 64, 13, 13, {3, 3, 2, 2, 0, 0}},  {1, 8, 7, 9, {3, 3, 2, 2, 1, 1}},
    {2, 12, 6, 5, {2, 3, 1, 2, 1, 0}},    {3, 3, 8, 8, {2, 2, 2, 2, 0, 0}},
    {1, 1, 1, 1, {1, 1, 1, 1, 0, 0}},     {2, 20, 5, 7, {4, 2, 3, 3, 2, 1}},
    {1, 5, 20, 21, {15, 17, 2, 1, 7, 8}}, {2, 16, 8, 10, {3, 3, 2, 2, 0, 1}}};

class MaxPool2dShim : public ::testing::TestWithParam<std::tuple<DType, Case>> {
 protected:
  TensorSpec input() const {
    const auto& [dtype, c] = GetParam();
    return channels_last(c.images, c.channels, c.height, c.width, dtype);
  }
  TensorSpec output() const { return max_pool2d_output(input(), options()); }
  TensorSpec index() const {
    TensorSpec spec = output();
    spec.dtype = DType::kU8;
    return spec;
  }
  const MaxPool2dOptions& options() const { return std::get<1>(GetParam()).options; }

  // Few values, so that there are ties, some of them 0 or below, and here and there a NaN.
  std::deque<OwnedTensor> inputs(const std::vector<TensorSpec>& specs,
                                 std::size_t with_ties) const {
    auto tensors = random_inputs(specs, 17);
    const Tensor& tensor = tensors[with_ties].tensor;
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      const float value = testing::values_of(rows_of_one(tensor, i))[0];
      const float tied = i % 41 == 7 ? std::nanf("") : std::floor(4.0f * value) / 4.0f;
      if (tensor.spec.dtype == DType::kF32) tensor.as<float>()[i] = tied;
      if (tensor.spec.dtype == DType::kBF16) tensor.as<BFloat16>()[i] = BFloat16(tied);
    }
    return tensors;
  }

 private:
  static Tensor rows_of_one(const Tensor& tensor, std::int64_t i) {
    return {static_cast<char*>(tensor.data) + i * size_of(tensor.spec.dtype),
            row_major({1}, tensor.spec.dtype), tensor.device};
  }
};

TEST_P(MaxPool2dShim, IsTheCpus) {
  const auto run = [this](Context& context, const std::vector<Tensor>& t) {
    max_pool2d_forward(context, t[0], t[1], t[2], options());
    max_pool2d_backward(context, t[3], t[4], t[1], options());
  };
  const auto tensors = inputs({output(), index(), input(), input(), output()}, 2);
  EXPECT_TRUE(same_values(on_gpu(tensors, run), on_cpu(tensors, run)));
}

TEST_P(MaxPool2dShim, AfterReluIsPoolAndRelu) {
  // Output, index, input, gradient of the input, of the output.
  const auto tensors = inputs({output(), index(), input(), input(), output()}, 2);
  const auto apart = on_gpu(tensors, [this](Context& context, const std::vector<Tensor>& t) {
    relu_forward(context, t[2], t[2]);
    max_pool2d_forward(context, t[0], t[1], t[2], options());
    max_pool2d_backward(context, t[3], t[4], t[1], options());
    relu_backward(context, t[3], t[3], t[2]);
  });
  const auto together = on_gpu(tensors, [this](Context& context, const std::vector<Tensor>& t) {
    relu_forward(context, t[2], t[2]);
    max_pool2d_forward(context, t[0], t[1], t[2], options(), MaxPool2dInput::kOutputOfRelu);
    max_pool2d_backward(context, t[3], t[4], t[1], options());
  });
  EXPECT_TRUE(same_values(together[0], apart[0]));
  EXPECT_TRUE(same_values(together[3], apart[3]));
  for (std::size_t i = 0; i < apart[0].size(); ++i) {
    EXPECT_EQ(together[1][i], apart[0][i] > 0.0f ? apart[1][i] : kNoPlace) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, MaxPool2dShim,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kCases)));

// 256 values of each of many windows that overlap: sums that BF16 could not hold on the way.
TEST(MaxPool2dShim, SumsInFloatAndRoundsOnce) {
  Gpu gpu;
  const MaxPool2dOptions options{3, 3, 1, 1, 1, 1};
  const TensorSpec spec = channels_last(1, 8, 3, 3, DType::kBF16);
  OwnedTensor input(spec), gradient(spec);
  for (std::int64_t i = 0; i < spec.elements(); ++i) {
    // The pixel in the middle wins all nine windows.
    input.tensor.as<BFloat16>()[i] = BFloat16(i / 8 == 4 ? 1.0f : 0.0f);
    gradient.tensor.as<BFloat16>()[i] = BFloat16(i / 8 == 0 ? 256.0f : 0.5f);
  }
  const Tensor output = gpu.make(spec), input_grad = gpu.make(spec);
  const Tensor index = gpu.make(channels_last(1, 8, 3, 3, DType::kU8));
  max_pool2d_forward(gpu.context(), output, index, gpu.put(input.tensor), options);
  max_pool2d_backward(gpu.context(), input_grad, gpu.put(gradient.tensor), index, options);
  // 256 + 8 * 0.5; BF16 has steps of 2 there, and each 0.5 alone would be lost.
  EXPECT_EQ(gpu.get(input_grad)[4 * 8], 260.0f);
}

}  // namespace
}  // namespace stagecoach
