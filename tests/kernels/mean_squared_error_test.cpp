#include "kernels/mean_squared_error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::expect_error;
using testing::random_tensor;
using testing::run_on_context;

struct Batch {
  explicit Batch(const TensorSpec& spec)
      : prediction(random_tensor(spec, 1, 4.0f)),
        targets(random_tensor(spec, 2, 4.0f)),
        grad(spec),
        losses(row_major({spec.shape[0]})) {}

  void run(int threads, float scale) const {
    run_on_context(threads, [&](Context& context) {
      mean_squared_error(context, losses.tensor, grad.tensor, prediction.tensor, targets.tensor,
                         scale);
    });
  }

  OwnedTensor prediction, targets, grad, losses;
};

TEST(MeanSquaredError, AgreesWithDouble) {
  for (const TensorSpec& spec : {row_major({1}), row_major({5, 1}), row_major({37, 10}),
                                 row_major({3, 1000}), channels_last(2, 3, 5, 7)}) {
    const Batch batch(spec);
    constexpr float kScale = 0.125f;
    batch.run(2, kScale);
    const std::int64_t columns = spec.elements() / spec.shape[0];
    for (std::int64_t n = 0; n < spec.shape[0]; ++n) {
      double sum = 0.0;
      for (std::int64_t i = n * columns; i < (n + 1) * columns; ++i) {
        const double difference = static_cast<double>(batch.prediction.tensor.as<float>()[i]) -
                                  static_cast<double>(batch.targets.tensor.as<float>()[i]);
        sum += difference * difference;
        const double slope = 2.0 * difference / static_cast<double>(columns) * kScale;
        ASSERT_NEAR(batch.grad.tensor.as<float>()[i], slope, 1e-7 * std::abs(slope)) << i;
      }
      sum /= static_cast<double>(columns);
      ASSERT_NEAR(batch.losses.tensor.as<float>()[n], sum, 1e-7 * sum) << n;
    }
  }
}

TEST(MeanSquaredError, GivesTheSameBytesEverywhere) {
  testing::expect_same_bytes_everywhere([](int threads) {
    const Batch batch(row_major({37, 129}));
    batch.run(threads, 1.0f);
    std::vector<std::uint8_t> all = bytes_of(batch.losses.tensor);
    const std::vector<std::uint8_t> grad = bytes_of(batch.grad.tensor);
    all.insert(all.end(), grad.begin(), grad.end());
    return all;
  });
}

TEST(MeanSquaredError, WorksInPlace) {
  const Batch batch(row_major({9, 7}));
  batch.run(1, 0.5f);
  const OwnedTensor in_place = testing::copy_of(batch.prediction.tensor);
  run_on_context(1, [&](Context& context) {
    mean_squared_error(context, batch.losses.tensor, in_place.tensor, in_place.tensor,
                       batch.targets.tensor, 0.5f);
  });
  EXPECT_EQ(bytes_of(in_place.tensor), bytes_of(batch.grad.tensor));
}

TEST(MeanSquaredError, NanAndInfinityShowInTheLossOfTheirSample) {
  const Batch batch(row_major({3, 2}));
  batch.prediction.tensor.as<float>()[1] = std::nanf("");
  batch.targets.tensor.as<float>()[2] = std::numeric_limits<float>::infinity();
  batch.run(1, 1.0f);
  const float* losses = batch.losses.tensor.as<float>();
  EXPECT_TRUE(std::isnan(losses[0]));
  EXPECT_TRUE(std::isinf(losses[1]));
  EXPECT_TRUE(std::isfinite(losses[2]));
}

TEST(MeanSquaredError, RefusesOtherTensors) {
  Context context;
  const Batch a(row_major({4, 3})), b(row_major({5, 3})), empty(row_major({4, 0}));
  const auto expect = [&](const OwnedTensor& losses, const OwnedTensor& grad,
                          const OwnedTensor& prediction, const OwnedTensor& targets,
                          const char* part, const char* got) {
    expect_error(
        [&] {
          mean_squared_error(context, losses.tensor, grad.tensor, prediction.tensor, targets.tensor,
                             1.0f);
        },
        {"mean_squared_error", part, got});
  };
  expect(b.losses, a.grad, a.prediction, a.targets, "losses F32 [4]", "[5]");
  expect(a.losses, b.grad, a.prediction, a.targets, "prediction_grad F32 [4, 3]", "[5, 3]");
  expect(a.losses, a.grad, a.prediction, b.targets, "targets F32 [4, 3]", "[5, 3]");
  expect(empty.losses, empty.grad, empty.prediction, empty.targets, "not empty", "[4, 0]");
}

TEST(MeanSquaredError, RowsBehindTheSamplesAreNothing) {
  const OwnedTensor prediction = testing::random_tensor(row_major({6, 3}), 1),
                    targets = testing::random_tensor(row_major({6, 3}), 2);
  const auto run = [&](std::int64_t samples) {
    std::vector<OwnedTensor> results;
    results.push_back(testing::filled_tensor(row_major({6}), -1.0f));
    results.push_back(testing::filled_tensor(prediction.tensor.spec, -1.0f));
    testing::run_on_context(2, [&](Context& context) {
      mean_squared_error(context, results[0].tensor, results[1].tensor, prediction.tensor,
                         targets.tensor, 0.5f, samples);
    });
    return results;
  };
  const std::vector<OwnedTensor> part = run(4), all = run(-1);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(part[0].tensor.as<float>()[i], i < 4 ? all[0].tensor.as<float>()[i] : 0.0f);
  }
  for (int i = 0; i < 18; ++i) {
    EXPECT_EQ(part[1].tensor.as<float>()[i], i < 12 ? all[1].tensor.as<float>()[i] : 0.0f);
  }
  testing::expect_error([&] { run(7); }, {"mean_squared_error", "at most 6 samples", "7"});
}

}  // namespace
}  // namespace stagecoach
