#include "kernels/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/step.h"
#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::bytes_of;
using testing::copy_of;
using testing::expect_error;
using testing::expect_same_bytes_everywhere;
using testing::filled_tensor;
using testing::random_tensor;
using testing::run_on_context;

constexpr DropoutMask kMask{
    .p = 0.3f, .seed = 0x123456789ABCDEFull, .layer = 5, .first_sample = 11};
constexpr std::int64_t kStep = 70000;

// On a context whose step has begun.
template <typename Operations>
void run_in_step(int threads, const Operations& operations, std::int64_t step = kStep) {
  run_on_context(threads, [&](Context& context) {
    begin_step(context, {.step = step});
    operations(context);
  });
}

std::vector<std::uint8_t> mask_bytes(std::int64_t rows, std::int64_t columns,
                                     const DropoutMask& mask, int threads = 2,
                                     std::int64_t step = kStep) {
  const OwnedTensor x = filled_tensor(row_major({rows, columns}), 1.0f);
  run_in_step(
      threads, [&](Context& context) { dropout_forward(context, x.tensor, x.tensor, mask); }, step);
  return bytes_of(x.tensor);
}

class DropoutTest : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(DropoutTest, DropsByTheDefinition) {
  const OwnedTensor input = random_tensor(row_major({3, GetParam()}), 1);
  const OwnedTensor output(input.tensor.spec);
  run_in_step(
      2, [&](Context& context) { dropout_forward(context, output.tensor, input.tensor, kMask); });
  for (std::int64_t n = 0; n < 3; ++n) {
    const RandomStream stream{kMask.seed, RandomUse::kDropout, kMask.layer, kStep,
                              kMask.first_sample + static_cast<std::uint32_t>(n)};
    for (std::int64_t e = 0; e < GetParam(); ++e) {
      const bool dropped = uniform01(stream.word(static_cast<std::uint64_t>(e))) < kMask.p;
      const float kept = at(input.tensor, n, e) * (1.0f / 0.7f);
      ASSERT_FLOAT_EQ(at(output.tensor, n, e), dropped ? 0.0f : kept) << n << ", " << e;
    }
  }
}

TEST_P(DropoutTest, BackwardHasTheSameMaskAndScale) {
  const OwnedTensor input = random_tensor(row_major({3, GetParam()}), 1);
  const OwnedTensor forward(input.tensor.spec), backward(input.tensor.spec);
  run_in_step(2, [&](Context& context) {
    dropout_forward(context, forward.tensor, input.tensor, kMask);
    dropout_backward(context, backward.tensor, input.tensor, kMask);
  });
  EXPECT_EQ(bytes_of(backward.tensor), bytes_of(forward.tensor));
}

TEST_P(DropoutTest, WorksInPlace) {
  const OwnedTensor input = random_tensor(row_major({3, GetParam()}), 1);
  const OwnedTensor output(input.tensor.spec), in_place = copy_of(input.tensor);
  run_in_step(2, [&](Context& context) {
    dropout_forward(context, output.tensor, input.tensor, kMask);
    dropout_forward(context, in_place.tensor, in_place.tensor, kMask);
  });
  EXPECT_EQ(bytes_of(in_place.tensor), bytes_of(output.tensor));
}

// Parts of a block of random words, of a vector, of a task's piece.
INSTANTIATE_TEST_SUITE_P(Columns, DropoutTest,
                         ::testing::Values(1, 3, 4, 62, 64, 65, 4096, 8191, 20003));

TEST(Dropout, CopiesWhenNothingIsDropped) {
  DropoutMask mask = kMask;
  mask.p = 0.0f;
  const OwnedTensor input = random_tensor(row_major({2, 77}), 1), output(input.tensor.spec);
  run_in_step(
      1, [&](Context& context) { dropout_forward(context, output.tensor, input.tensor, mask); });
  EXPECT_EQ(bytes_of(output.tensor), bytes_of(input.tensor));
}

TEST(Dropout, ADroppedElementIsZeroWhateverItWas) {
  for (const float value : {NAN, INFINITY, -2.0f}) {
    const OwnedTensor x = filled_tensor(row_major({1, 200}), value);
    run_in_step(1, [&](Context& context) { dropout_forward(context, x.tensor, x.tensor, kMask); });
    const std::vector<std::uint8_t> kept = mask_bytes(1, 200, kMask);
    std::int64_t dropped = 0;
    for (std::int64_t e = 0; e < 200; ++e) {
      float reference = 0.0f;
      std::memcpy(&reference, kept.data() + e * 4, 4);
      if (reference != 0.0f) continue;
      ++dropped;
      ASSERT_EQ(at(x.tensor, 0, e), 0.0f) << e;
      ASSERT_FALSE(std::signbit(at(x.tensor, 0, e))) << e;
    }
    EXPECT_GT(dropped, 0);
  }
}

TEST(Dropout, DropsItsShareIndependentlyOfTheNeighbours) {
  constexpr std::int64_t kRows = 64, kColumns = 4096;
  for (const float p : {0.1f, 0.5f, 0.9f}) {
    DropoutMask mask = kMask;
    mask.p = p;
    const OwnedTensor x = filled_tensor(row_major({kRows, kColumns}), 1.0f);
    run_in_step(2, [&](Context& context) { dropout_forward(context, x.tensor, x.tensor, mask); });
    std::int64_t dropped = 0, with_right = 0, with_below = 0;
    const auto is_dropped = [&](std::int64_t n, std::int64_t e) {
      return at(x.tensor, n % kRows, e % kColumns) == 0.0f;
    };
    for (std::int64_t n = 0; n < kRows; ++n) {
      for (std::int64_t e = 0; e < kColumns; ++e) {
        if (!is_dropped(n, e)) continue;
        ++dropped;
        with_right += is_dropped(n, e + 1) ? 1 : 0;
        with_below += is_dropped(n + 1, e) ? 1 : 0;
      }
    }
    // Within five standard deviations.
    const double count = kRows * kColumns, share = p;
    const double tolerance = 5.0 * std::sqrt(share * (1.0 - share) / count);
    const double pairs = 5.0 * std::sqrt(share * share * (1.0 - share * share) / count);
    EXPECT_NEAR(static_cast<double>(dropped) / count, share, tolerance);
    EXPECT_NEAR(static_cast<double>(with_right) / count, share * share, 2.0 * pairs);
    EXPECT_NEAR(static_cast<double>(with_below) / count, share * share, 2.0 * pairs);
  }
}

TEST(Dropout, DependsOnEachKeyOfTheMask) {
  const std::vector<std::uint8_t> base = mask_bytes(4, 100, kMask);
  EXPECT_EQ(mask_bytes(4, 100, kMask), base);
  DropoutMask other = kMask;
  other.seed += 1;
  EXPECT_NE(mask_bytes(4, 100, other), base);
  other = kMask;
  other.seed ^= std::uint64_t{1} << 40;  // both halves of the seed count
  EXPECT_NE(mask_bytes(4, 100, other), base);
  other = kMask;
  other.layer += 1;
  EXPECT_NE(mask_bytes(4, 100, other), base);
  EXPECT_NE(mask_bytes(4, 100, kMask, 2, kStep + 1), base);
  other = kMask;
  other.first_sample += 1;
  EXPECT_NE(mask_bytes(4, 100, other), base);
}

// What was enqueued before a step has begun has the mask of the step before.
TEST(Dropout, HasTheStepThatHadBegunWhenItWasEnqueued) {
  const OwnedTensor first = filled_tensor(row_major({4, 100}), 1.0f);
  const OwnedTensor second = filled_tensor(row_major({4, 100}), 1.0f);
  run_on_context(2, [&](Context& context) {
    for (const auto& [x, step] : {std::pair(first.tensor, kStep), {second.tensor, kStep + 1}}) {
      begin_step(context, {.step = step});
      dropout_forward(context, x, x, kMask);
    }
  });
  EXPECT_EQ(bytes_of(first.tensor), mask_bytes(4, 100, kMask));
  EXPECT_EQ(bytes_of(second.tensor), mask_bytes(4, 100, kMask, 2, kStep + 1));
}

TEST(Dropout, DoesNotDependOnHowTheBatchIsCut) {
  const std::vector<std::uint8_t> whole = mask_bytes(8, 1001, kMask);
  std::vector<std::uint8_t> parts = mask_bytes(4, 1001, kMask);
  DropoutMask second = kMask;
  second.first_sample += 4;
  const std::vector<std::uint8_t> rest = mask_bytes(4, 1001, second);
  parts.insert(parts.end(), rest.begin(), rest.end());
  EXPECT_EQ(parts, whole);
}

TEST(Dropout, GivesTheSameBytesEverywhere) {
  expect_same_bytes_everywhere([](int threads) { return mask_bytes(3, 30001, kMask, threads); });
}

TEST(Dropout, RefusesOtherArguments) {
  Context context;
  const OwnedTensor x(row_major({2, 8})), y(row_major({2, 9})), image(channels_last(1, 2, 2, 2));
  const auto with_p = [](float p) { return DropoutMask{.p = p}; };
  expect_error([&] { dropout_forward(context, x.tensor, x.tensor, with_p(1.0f)); },
               {"dropout_forward", "p in [0, 1)", "p = 1"});
  expect_error([&] { dropout_backward(context, x.tensor, x.tensor, with_p(-0.5f)); },
               {"dropout_backward", "p in [0, 1)", "-0.5"});
  expect_error([&] { dropout_forward(context, x.tensor, x.tensor, with_p(NAN)); },
               {"p in [0, 1)", "nan"});
  expect_error([&] { dropout_forward(context, x.tensor, x.tensor, {.layer = 65536}); },
               {"layer below 65536", "65536"});
  expect_error([&] { dropout_forward(context, y.tensor, x.tensor, kMask); },
               {"output F32 [2, 8]", "[2, 9]"});
  expect_error([&] { dropout_forward(context, image.tensor, image.tensor, kMask); },
               {"[N, F] row_major", "channels_last"});
}

}  // namespace
}  // namespace stagecoach
