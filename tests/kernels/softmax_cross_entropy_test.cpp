#include "kernels/softmax_cross_entropy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::bytes_of;
using testing::copy_of;
using testing::expect_error;
using testing::expect_same_bytes_everywhere;
using testing::run_on_context;

struct Batch {
  Batch(std::int64_t row_count, std::int64_t class_count)
      : rows(row_count),
        classes(class_count),
        logits(row_major({row_count, class_count})),
        grad(logits.tensor.spec),
        losses(testing::filled_tensor(row_major({row_count}), -1.0f)),
        correct(row_major({row_count}, DType::kI32)),
        labels(row_major({row_count}, DType::kI32)) {
    for (std::int64_t i = 0; i < rows; ++i) label(i) = static_cast<std::int32_t>(i * 7 % classes);
  }

  void run(int threads, float scale, std::int64_t samples = -1, float label_smoothing = 0) const {
    run_on_context(threads, [&](Context& context) {
      softmax_cross_entropy(context, losses.tensor, correct.tensor, grad.tensor, logits.tensor,
                            labels.tensor, scale, samples, label_smoothing);
    });
  }

  void set(std::int64_t row, std::initializer_list<float> values) const {
    std::copy(values.begin(), values.end(), logits.tensor.as<float>() + row * classes);
  }
  std::int32_t& label(std::int64_t row) const { return labels.tensor.as<std::int32_t>()[row]; }
  float loss(std::int64_t row) const { return losses.tensor.as<float>()[row]; }
  std::int32_t is_correct(std::int64_t row) const { return correct.tensor.as<std::int32_t>()[row]; }

  std::int64_t rows, classes;
  OwnedTensor logits, grad, losses, correct, labels;
};

// -log softmax of one row in double, with the logits as `read(class)` gives them.
template <typename Read>
double loss_of(std::int64_t classes, std::int64_t label, const Read& read) {
  double largest = read(0), sum = 0.0;
  for (std::int64_t c = 1; c < classes; ++c) largest = std::max(largest, read(c));
  for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(read(c) - largest);
  return std::log(sum) + largest - read(label);
}

class SoftmaxCrossEntropyTest : public ::testing::TestWithParam<Shape> {};

TEST_P(SoftmaxCrossEntropyTest, AgreesWithDoubleAndItsFiniteDifferences) {
  const Batch batch(GetParam()[0], GetParam()[1]);
  testing::fill_random(batch.logits.tensor, 1, 4.0f);
  constexpr float kScale = 0.125f;
  batch.run(2, kScale);
  for (std::int64_t n = 0; n < batch.rows; ++n) {
    const std::int64_t label = batch.label(n);
    const auto read = [&](std::int64_t c) -> double { return at(batch.logits.tensor, n, c); };
    const double loss = loss_of(batch.classes, label, read);
    ASSERT_NEAR(batch.loss(n), loss, 1e-6 * (1.0 + loss));
    const float* row = batch.logits.tensor.as<float>() + n * batch.classes;
    const std::int64_t best = std::max_element(row, row + batch.classes) - row;
    ASSERT_EQ(batch.is_correct(n), best == label ? 1 : 0);
    constexpr double kStep = 1e-5;
    // Every class of small rows, some of large ones.
    for (std::int64_t c = 0; c < batch.classes; c += batch.classes / 50 + 1) {
      const auto moved = [&](double step) {
        return loss_of(batch.classes, label,
                       [&](std::int64_t i) { return read(i) + (i == c ? step : 0.0); });
      };
      const double slope = (moved(kStep) - moved(-kStep)) / (2.0 * kStep);
      ASSERT_NEAR(at(batch.grad.tensor, n, c), kScale * slope, 1e-7) << n << ", " << c;
    }
  }
}

TEST_P(SoftmaxCrossEntropyTest, GradientsOfARowSumToZero) {
  const Batch batch(GetParam()[0], GetParam()[1]);
  testing::fill_random(batch.logits.tensor, 1, 4.0f);
  batch.run(1, 1.0f);
  for (std::int64_t n = 0; n < batch.rows; ++n) {
    double sum = 0.0;
    for (std::int64_t c = 0; c < batch.classes; ++c) sum += at(batch.grad.tensor, n, c);
    ASSERT_NEAR(sum, 0.0, 1e-6);
  }
}

TEST_P(SoftmaxCrossEntropyTest, WorksInPlaceAndEverywhere) {
  const Batch batch(GetParam()[0], GetParam()[1]);
  testing::fill_random(batch.logits.tensor, 1, 4.0f);
  batch.run(1, 0.5f);
  expect_same_bytes_everywhere([&](int threads) {
    const OwnedTensor in_place = copy_of(batch.logits.tensor);
    run_on_context(threads, [&](Context& context) {
      softmax_cross_entropy(context, batch.losses.tensor, batch.correct.tensor, in_place.tensor,
                            in_place.tensor, batch.labels.tensor, 0.5f);
    });
    EXPECT_EQ(bytes_of(in_place.tensor), bytes_of(batch.grad.tensor));
    return bytes_of(batch.losses.tensor);
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, SoftmaxCrossEntropyTest,
                         ::testing::Values(Shape{1, 1}, Shape{5, 2}, Shape{1000, 10},
                                           Shape{9, 1000}, Shape{3, 5001}));

TEST(SoftmaxCrossEntropy, StandsHugeLogits) {
  const Batch batch(3, 3);
  batch.set(0, {10000.0f, 9999.0f, -10000.0f});
  batch.set(1, {-3e38f, 3e38f, 0.0f});
  batch.set(2, {0.0f, 3e38f, 3e38f});
  batch.label(0) = 0;
  batch.label(1) = 1;
  batch.label(2) = 2;
  batch.run(1, 1.0f);
  EXPECT_FLOAT_EQ(batch.loss(0), static_cast<float>(std::log1p(std::exp(-1.0))));
  EXPECT_EQ(batch.loss(1), 0.0f);
  EXPECT_FLOAT_EQ(batch.loss(2), static_cast<float>(std::log(2.0)));
  const float expected[] = {0.0f, 0.0f, 0.0f, 0.0f, 0.5f, -0.5f};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(batch.grad.tensor.as<float>()[3 + i], expected[i]) << i;
}

TEST(SoftmaxCrossEntropy, TheLossOfASureAndRightAnswerIsNotRoundedAway) {
  const Batch batch(1, 2);
  batch.set(0, {20.0f, 0.0f});
  batch.label(0) = 0;
  batch.run(1, 1.0f);
  EXPECT_FLOAT_EQ(batch.loss(0), static_cast<float>(std::log1p(std::exp(-20.0))));
  EXPECT_FLOAT_EQ(at(batch.grad.tensor, 0, 0), -2.0611537e-9f);
}

TEST(SoftmaxCrossEntropy, TheFirstOfEqualLogitsIsTheAnswer) {
  const Batch batch(2, 4);
  batch.set(0, {0.0f, 2.0f, 2.0f, 1.0f});
  batch.set(1, {0.0f, 2.0f, 2.0f, 1.0f});
  batch.label(0) = 1;
  batch.label(1) = 2;
  batch.run(1, 1.0f);
  EXPECT_EQ(batch.is_correct(0), 1);
  EXPECT_EQ(batch.is_correct(1), 0);
}

TEST(SoftmaxCrossEntropy, NanAndInfinityShowInTheLossOfTheirRow) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const Batch batch(4, 3);
  batch.set(0, {kNan, 1.0f, 2.0f});
  batch.set(1, {1.0f, 2.0f, kNan});
  batch.set(2, {std::numeric_limits<float>::infinity(), 1.0f, 2.0f});
  batch.set(3, {3.0f, 1.0f, 2.0f});
  for (std::int64_t n = 0; n < 4; ++n) batch.label(n) = 0;
  batch.run(1, 1.0f);
  for (std::int64_t n = 0; n < 3; ++n) {
    EXPECT_TRUE(std::isnan(batch.loss(n))) << n;
    EXPECT_EQ(batch.is_correct(n), 0) << n;
    for (std::int64_t c = 0; c < 3; ++c) EXPECT_TRUE(std::isnan(at(batch.grad.tensor, n, c)));
  }
  EXPECT_TRUE(std::isfinite(batch.loss(3)));
  EXPECT_EQ(batch.is_correct(3), 1);
}

TEST(SoftmaxCrossEntropy, ALabelOutOfRangeFailsTheStreamAndWritesNothing) {
  for (const std::int32_t label : {-1, 10, 1 << 30}) {
    const Batch batch(100, 10);
    batch.label(37) = label;
    batch.label(90) = -5;
    expect_error([&] { batch.run(4, 1.0f); }, {"softmax_cross_entropy", "labels from 0 to 9",
                                               fmt::format("label {} in row 37", label).c_str()});
    for (std::int64_t n = 0; n < 100; ++n) EXPECT_EQ(batch.loss(n), -1.0f);
  }
}

TEST(SoftmaxCrossEntropy, RefusesOtherTensors) {
  Context context;
  const Batch a(4, 3), b(5, 3);
  const Tensor losses = a.losses.tensor, correct = a.correct.tensor, grad = a.grad.tensor;
  const Tensor logits = a.logits.tensor, labels = a.labels.tensor;
  const auto expect = [&](Tensor l, Tensor k, Tensor g, Tensor x, Tensor y, const char* part,
                          const char* got) {
    expect_error([&] { softmax_cross_entropy(context, l, k, g, x, y, 1.0f); },
                 {"softmax_cross_entropy", part, got});
  };
  expect(b.losses.tensor, correct, grad, logits, labels, "losses F32 [4]", "[5]");
  expect(losses, losses, grad, logits, labels, "correct I32 [4]", "F32 [4]");
  expect(losses, correct, b.grad.tensor, logits, labels, "logits_grad F32 [4, 3]", "[5, 3]");
  expect(losses, correct, grad, losses, labels, "logits [N, C]", "F32 [4]");
  expect(losses, correct, grad, logits, b.labels.tensor, "labels I32 [4]", "[5]");
}

// Of torch.nn.functional.cross_entropy(..., label_smoothing=0.1), PyTorch 2.15.0.
TEST(SoftmaxCrossEntropy, SmoothsLabelsAsPyTorchDoes) {
  Batch batch(2, 4);
  batch.set(0, {1.5f, -0.25f, 3.0f, 0.5f});
  batch.set(1, {-2.0f, 0.0f, 0.125f, 7.0f});
  batch.label(0) = 0;
  batch.label(1) = 3;
  batch.run(1, 0.25f, -1, 0.1f);
  EXPECT_FLOAT_EQ(batch.loss(0), 1.826892375946045f);
  EXPECT_FLOAT_EQ(batch.loss(1), 0.5739414691925049f);
  constexpr float kGrads[] = {
      -0.18974480032920837f,  0.0009625200764276087f, 0.17976334691047668f,   0.009018905460834503f,
      -0.006219211500138044f, -0.006022500339895487f, -0.005992209073156118f, 0.01823391020298004f};
  for (int i = 0; i < 8; ++i) {
    EXPECT_NEAR(batch.grad.tensor.as<float>()[i], kGrads[i], 4e-8) << i;
  }
  EXPECT_EQ(batch.is_correct(1), 1);
}

TEST(SoftmaxCrossEntropy, RowsBehindTheSamplesAreNothing) {
  Batch part(7, 5), all(7, 5);
  for (const Batch* batch : {&part, &all}) testing::fill_random(batch->logits.tensor, 4);
  part.label(5) = part.label(6) = 99;  // is not read
  part.run(2, 0.2f, 5);
  all.run(2, 0.2f);
  for (int row = 0; row < 7; ++row) {
    const bool own = row < 5;
    EXPECT_EQ(part.loss(row), own ? all.loss(row) : 0.0f);
    EXPECT_EQ(part.is_correct(row), own ? all.is_correct(row) : 0);
    for (int c = 0; c < 5; ++c) {
      EXPECT_EQ(at(part.grad.tensor, row, c), own ? at(all.grad.tensor, row, c) : 0.0f);
    }
  }
  expect_error([&] { part.run(1, 1.0f, 8); }, {"softmax_cross_entropy", "at most 7 samples", "8"});
}

}  // namespace
}  // namespace stagecoach
