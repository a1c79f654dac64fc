#include "kernels/batch_norm2d.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::bytes_of;
using testing::expect_error;
using testing::filled_tensor;
using testing::random_tensor;
using testing::run_on_context;

constexpr float kEps = 1e-5f;

// All tensors of a batch normalisation, and what it makes of them.
struct Batch {
  explicit Batch(const TensorSpec& spec, float shift = 0.0f)
      : x(random_tensor(spec, 1)),
        y_grad(random_tensor(spec, 2)),
        y(spec),
        x_grad(spec),
        channel(row_major({spec.shape[1]})),
        weight(random_tensor(channel, 3)),
        bias(random_tensor(channel, 4)),
        mean(channel),
        variance(channel),
        weight_grad(filled_tensor(channel, 1.0f)),
        bias_grad(filled_tensor(channel, 2.0f)) {
    for (std::int64_t i = 0; i < spec.elements(); ++i) x.tensor.as<float>()[i] += shift;
  }

  void run(int threads, GradientMode mode = GradientMode::kOverwrite) const {
    run_on_context(threads, batch_norm2d_workspace_bytes(x.tensor.spec), [&](Context& context) {
      batch_norm2d_statistics(context, mean.tensor, variance.tensor, x.tensor);
      batch_norm2d_forward(context, y.tensor, x.tensor, mean.tensor, variance.tensor, weight.tensor,
                           bias.tensor, kEps);
      batch_norm2d_backward_input(context, x_grad.tensor, y_grad.tensor, x.tensor, mean.tensor,
                                  variance.tensor, weight.tensor, kEps);
      batch_norm2d_backward_weight(context, weight_grad.tensor, bias_grad.tensor, y_grad.tensor,
                                   x.tensor, mean.tensor, variance.tensor, kEps, mode);
    });
  }

  // visit(place of a value) for every value of channel `c`.
  template <typename Visit>
  void each(std::int64_t c, const Visit& visit) const {
    const std::int64_t channels = x.tensor.shape()[1];
    for (std::int64_t i = c; i < x.tensor.elements(); i += channels) visit(i);
  }

  OwnedTensor x, y_grad, y, x_grad;
  TensorSpec channel;
  OwnedTensor weight, bias, mean, variance, weight_grad, bias_grad;
};

double value(const OwnedTensor& tensor, std::int64_t i) {
  return static_cast<double>(tensor.tensor.as<float>()[i]);
}

// All of it by the definition, in double.
void expect_definition(const Batch& b, double tolerance) {
  for (std::int64_t c = 0; c < b.channel.shape[0]; ++c) {
    double n = 0, mean = 0, variance = 0, plain = 0, scaled = 0;
    b.each(c, [&](std::int64_t i) {
      n += 1;
      mean += value(b.x, i);
    });
    mean /= n;
    b.each(c, [&](std::int64_t i) { variance += std::pow(value(b.x, i) - mean, 2) / n; });
    const double root = std::sqrt(variance + static_cast<double>(kEps));
    const auto z = [&](std::int64_t i) { return (value(b.x, i) - mean) / root; };
    b.each(c, [&](std::int64_t i) {
      plain += value(b.y_grad, i);
      scaled += value(b.y_grad, i) * z(i);
    });
    EXPECT_NEAR(value(b.mean, c), mean, 1e-7 * std::abs(mean) + 1e-12);
    EXPECT_NEAR(value(b.variance, c), variance, tolerance);
    EXPECT_NEAR(value(b.weight_grad, c), scaled, tolerance * n);
    EXPECT_NEAR(value(b.bias_grad, c), plain, 1e-7 * n);
    b.each(c, [&](std::int64_t i) {
      ASSERT_NEAR(value(b.y, i), z(i) * value(b.weight, c) + value(b.bias, c), tolerance) << i;
      const double slope =
          value(b.weight, c) / root * (value(b.y_grad, i) - (plain + z(i) * scaled) / n);
      ASSERT_NEAR(value(b.x_grad, i), slope, tolerance) << i;
    });
  }
}

TEST(BatchNorm2d, AgreesWithDouble) {
  // One value in a channel; less than one piece of a sum, one, and several.
  for (const TensorSpec& spec : {channels_last(1, 3, 1, 2), channels_last(2, 5, 7, 3),
                                 channels_last(1, 16, 16, 16), channels_last(3, 17, 19, 23)}) {
    const Batch batch(spec);
    batch.run(2);
    expect_definition(batch, 2e-6);
  }
}

// Squares of values far from 0 have no digits left for a small variance.
TEST(BatchNorm2d, KeepsTheVarianceOfValuesFarFromZero) {
  const Batch batch(channels_last(2, 3, 16, 17), 1000.0f);
  batch.run(2);
  expect_definition(batch, 1e-3);  // of the mean in float: half a step is 3e-5
  for (std::int64_t c = 0; c < 3; ++c) EXPECT_NEAR(value(batch.variance, c), 1.0 / 3.0, 0.03);
}

TEST(BatchNorm2d, AddsToGradients) {
  const TensorSpec spec = channels_last(2, 5, 7, 3);
  const Batch written(spec), added(spec);
  written.run(2);
  added.run(2, GradientMode::kAccumulate);
  for (std::int64_t c = 0; c < 5; ++c) {
    EXPECT_FLOAT_EQ(added.weight_grad.tensor.as<float>()[c],
                    1.0f + written.weight_grad.tensor.as<float>()[c]);
    EXPECT_FLOAT_EQ(added.bias_grad.tensor.as<float>()[c],
                    2.0f + written.bias_grad.tensor.as<float>()[c]);
  }
}

TEST(BatchNorm2d, GivesTheSameBytesEverywhere) {
  testing::expect_same_bytes_everywhere([](int threads) {
    const Batch batch(channels_last(3, 7, 19, 23));
    batch.run(threads);
    std::vector<std::uint8_t> all;
    for (const OwnedTensor* tensor : {&batch.y, &batch.x_grad, &batch.mean, &batch.variance,
                                      &batch.weight_grad, &batch.bias_grad}) {
      const std::vector<std::uint8_t> bytes = bytes_of(tensor->tensor);
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  });
}

// Running statistics that were `mean` and `variance`, after batch_norm2d_update().
struct Running {
  Running(float mean, float variance, std::vector<float> means, std::vector<float> variances,
          std::int64_t values, float momentum)
      : mean_of(filled_tensor(row_major({1}), mean)),
        variance_of(filled_tensor(row_major({1}), variance)) {
    const Shape shape{static_cast<std::int64_t>(means.size()), 1};
    run_on_context(1, [&](Context& context) {
      batch_norm2d_update(context, mean_of.tensor, variance_of.tensor,
                          Tensor{means.data(), row_major(shape), {}},
                          Tensor{variances.data(), row_major(shape), {}}, values, momentum);
      context.stream().synchronize();
    });
  }
  OwnedTensor mean_of, variance_of;
};

TEST(BatchNorm2d, RunningStatisticsTakeInThoseOfAllParts) {
  // {1, 3} and {5, 11}: mean 5, squared distances 16 + 4 + 0 + 36 over 3.
  const Running running(2.0f, 1.0f, {2.0f, 8.0f}, {1.0f, 9.0f}, 2, 0.25f);
  EXPECT_FLOAT_EQ(running.mean_of.tensor.as<float>()[0], 0.75f * 2.0f + 0.25f * 5.0f);
  EXPECT_FLOAT_EQ(running.variance_of.tensor.as<float>()[0], 0.75f + 0.25f * 56.0f / 3.0f);
  // A single value has no unbiased variance: its own, which is 0.
  const Running single(2.0f, 1.0f, {6.0f}, {0.0f}, 1, 1.0f);
  EXPECT_EQ(single.mean_of.tensor.as<float>()[0], 6.0f);
  EXPECT_EQ(single.variance_of.tensor.as<float>()[0], 0.0f);
}

// Mean squares less squared means must not lose it below 0, where its root is no number.
TEST(BatchNorm2d, TheRunningVarianceOfEqualValuesIsZero) {
  constexpr float far = 123456792.0f;
  const Running running(0.0f, 1.0f, std::vector<float>(3, far), std::vector<float>(3, 0.0f), 4,
                        1.0f);
  EXPECT_EQ(running.mean_of.tensor.as<float>()[0], far);
  EXPECT_EQ(running.variance_of.tensor.as<float>()[0], 0.0f);
  const Running apart(0.0f, 1.0f, {far, far + 8.0f}, {0.0f, 0.0f}, 1, 1.0f);
  EXPECT_EQ(apart.variance_of.tensor.as<float>()[0], 32.0f);
}

TEST(BatchNorm2d, RefusesOtherTensors) {
  Context context;
  const Batch a(channels_last(2, 3, 4, 5)), b(channels_last(2, 4, 4, 5));
  const OwnedTensor rows(row_major({2, 3, 4, 5})), empty(channels_last(0, 3, 4, 5));
  const auto forward = [&](const OwnedTensor& y, const OwnedTensor& x, const OwnedTensor& mean,
                           const OwnedTensor& weight) {
    return [&context, &y, &x, &mean, &weight, &a] {
      batch_norm2d_forward(context, y.tensor, x.tensor, mean.tensor, a.variance.tensor,
                           weight.tensor, a.bias.tensor, kEps);
    };
  };
  expect_error(forward(b.y, a.x, a.mean, a.weight),
               {"batch_norm2d", "y F32 [2, 3, 4, 5]", "[2, 4"});
  expect_error(forward(a.y, rows, a.mean, a.weight), {"batch_norm2d", "x channels_last", "[2, 3"});
  expect_error(forward(a.y, empty, a.mean, a.weight), {"batch_norm2d", "not empty", "[0, 3"});
  expect_error(forward(a.y, a.x, b.mean, a.weight), {"batch_norm2d", "mean F32 [3]", "[4]"});
  expect_error(forward(a.y, a.x, a.mean, b.weight), {"batch_norm2d", "weight F32 [3]", "[4]"});
  const OwnedTensor parts(row_major({2, 3})), others(row_major({3, 3}));
  expect_error(
      [&] {
        batch_norm2d_update(context, a.mean.tensor, a.variance.tensor, parts.tensor, others.tensor,
                            4, 0.1f);
      },
      {"batch_norm2d", "variances F32 [2, 3]", "[3, 3]"});
  expect_error(
      [&] {
        batch_norm2d_update(context, a.mean.tensor, a.variance.tensor, parts.tensor, parts.tensor,
                            0, 0.1f);
      },
      {"batch_norm2d", "at least one value", "of 0 values"});
}

}  // namespace
}  // namespace stagecoach
