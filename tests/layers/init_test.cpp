#include "layers/init.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::expect_error;

constexpr RandomStream kStream{.seed = 7, .layer = 3};

OwnedTensor initialized(const TensorSpec& spec, const Init& init, const Shape& global = {},
                        const SliceOffset& offset = {}) {
  OwnedTensor tensor(spec);
  testing::run_on_context(2, [&](Context& context) {
    initialize(context, tensor.tensor, init, kStream, global, offset);
  });
  return tensor;
}

struct Moments {
  explicit Moments(const Tensor& tensor) {
    const auto n = static_cast<double>(tensor.elements());
    for (std::int64_t i = 0; i < tensor.elements(); ++i) mean += tensor.as<float>()[i] / n;
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      deviation += std::pow(tensor.as<float>()[i] - mean, 2) / n;
      largest = std::max(largest, std::fabs(tensor.as<float>()[i]));
    }
    deviation = std::sqrt(deviation);
  }
  double mean = 0, deviation = 0;
  float largest = 0;
};

TEST(Init, HasTheDistributionsOfPyTorch) {
  EXPECT_FLOAT_EQ(Init::kaiming_uniform(75, std::sqrt(2.0)).a,
                  static_cast<float>(std::sqrt(6.0 / 75)));
  EXPECT_FLOAT_EQ(Init::kaiming_normal(75, std::sqrt(2.0)).b,
                  static_cast<float>(std::sqrt(2.0 / 75)));
  EXPECT_FLOAT_EQ(Init::xavier_uniform(30, 20).a, static_cast<float>(std::sqrt(6.0 / 50)));
  EXPECT_FLOAT_EQ(Init::xavier_normal(30, 20).b, static_cast<float>(std::sqrt(2.0 / 50)));
  expect_error([] { Init::kaiming_normal(0, 1); }, {"Init", "a fan of at least 1", "got 0"});
}

TEST(Init, FillsAsItSays) {
  const TensorSpec spec = channels_last(40, 10, 5, 5);
  const Moments constant(initialized(spec, Init::constant(3)).tensor);
  EXPECT_NEAR(constant.mean, 3.0, 1e-9);
  EXPECT_NEAR(constant.deviation, 0.0, 1e-9);
  const Moments uniform(initialized(spec, Init::uniform(0.5f)).tensor);
  EXPECT_NEAR(uniform.mean, 0, 0.01);
  EXPECT_NEAR(uniform.deviation, 0.5 / std::sqrt(3.0), 0.01);
  EXPECT_LE(uniform.largest, 0.5f);
  const Moments normal(initialized(spec, Init::normal(1, 0.2f)).tensor);
  EXPECT_NEAR(normal.mean, 1, 0.01);
  EXPECT_NEAR(normal.deviation, 0.2, 0.01);
}

TEST(Init, ASliceHasTheValuesOfTheWhole) {
  for (const Init& init : {Init::uniform(0.5f), Init::normal(0, 1)}) {
    for (const MemoryFormat format : {MemoryFormat::kChannelsLast, MemoryFormat::kRowMajor}) {
      const TensorSpec spec{DType::kF32, {6, 4, 3, 2}, format};
      const OwnedTensor whole = initialized(spec, init);
      TensorSpec part = spec;
      part.shape = {2, 3, 3, 1};
      const OwnedTensor slice = initialized(part, init, spec.shape, {3, 1, 0, 1});
      for (std::int64_t n = 0; n < 2; ++n) {
        for (std::int64_t c = 0; c < 3; ++c) {
          for (std::int64_t h = 0; h < 3; ++h) {
            ASSERT_EQ(testing::at(slice.tensor, n, c, h, 0),
                      testing::at(whole.tensor, n + 3, c + 1, h, 1));
          }
        }
      }
    }
  }
}

TEST(Init, RefusesASliceThatLiesOutside) {
  expect_error(
      [] {
        initialized(row_major({4, 4}), Init::uniform(1), {6, 4}, {3, 0});
      },
      {"initialize", "a slice of [6, 4]", "[4, 4]"});
  expect_error(
      [] {
        initialized(row_major({4}), Init::uniform(1), {6, 4});
      },
      {"a slice of [6, 4]"});
}

TEST(InitScheme, KaimingIsOfWeightsAndBiases) {
  const Init own = Init::uniform(0.25f);
  const auto expect = [&](const Init& got, const Init& expected) {
    EXPECT_EQ(got.kind, expected.kind);
    EXPECT_EQ(got.a, expected.a);
    EXPECT_EQ(got.b, expected.b);
  };
  expect(init_of(InitScheme::kTorch, "weight", {8, 3, 5, 5}, own), own);
  expect(init_of(InitScheme::kKaiming, "weight", {8, 3, 5, 5}, own),
         Init::kaiming_uniform(75, std::sqrt(2.0)));
  expect(init_of(InitScheme::kKaiming, "weight", {10, 40}, own),
         Init::kaiming_uniform(40, std::sqrt(2.0)));
  expect(init_of(InitScheme::kKaiming, "bias", {8}, own), Init::constant(0));
  expect(init_of(InitScheme::kKaiming, "weight", {8}, Init::constant(1)), Init::constant(1));
}

}  // namespace
}  // namespace stagecoach
