#include "kernels/add.h"

#include <gtest/gtest.h>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::copy_of;
using testing::expect_error;
using testing::random_tensor;
using testing::run_on_context;

TEST(Add, AddsElementByElement) {
  // Below, at and above one vector, and above the piece of one task.
  for (const std::int64_t size : {1, 3, 16, 33, 200003}) {
    const OwnedTensor a = random_tensor(row_major({size}), 1), b = random_tensor(a.tensor.spec, 2);
    const OwnedTensor sum(a.tensor.spec);
    run_on_context(2, [&](Context& context) { add(context, sum.tensor, a.tensor, b.tensor); });
    for (std::int64_t i = 0; i < size; ++i) {
      ASSERT_EQ(sum.tensor.as<float>()[i], a.tensor.as<float>()[i] + b.tensor.as<float>()[i]) << i;
    }
  }
}

TEST(Add, GivesTheSameBytesEverywhere) {
  const OwnedTensor a = random_tensor(row_major({200003}), 1), b = random_tensor(a.tensor.spec, 2);
  testing::expect_same_bytes_everywhere([&](int threads) {
    const OwnedTensor sum(a.tensor.spec);
    run_on_context(threads,
                   [&](Context& context) { add(context, sum.tensor, a.tensor, b.tensor); });
    return bytes_of(sum.tensor);
  });
}

TEST(Add, TakesTheSameTensorTwiceAndInPlace) {
  const OwnedTensor a = random_tensor(channels_last(2, 3, 101, 67), 1);
  const OwnedTensor b = random_tensor(a.tensor.spec, 2), sum(a.tensor.spec), twice(a.tensor.spec);
  const OwnedTensor first = copy_of(a.tensor), second = copy_of(b.tensor), all = copy_of(a.tensor);
  run_on_context(2, [&](Context& context) {
    add(context, sum.tensor, a.tensor, b.tensor);
    add(context, first.tensor, first.tensor, b.tensor);
    add(context, second.tensor, a.tensor, second.tensor);
    add(context, twice.tensor, a.tensor, a.tensor);
    add(context, all.tensor, all.tensor, all.tensor);
  });
  EXPECT_EQ(bytes_of(first.tensor), bytes_of(sum.tensor));
  EXPECT_EQ(bytes_of(second.tensor), bytes_of(sum.tensor));
  EXPECT_EQ(bytes_of(all.tensor), bytes_of(twice.tensor));
}

TEST(Add, RefusesOtherTensors) {
  Context context;
  const OwnedTensor a(row_major({4})), b(row_major({5})), bytes(row_major({4}, DType::kU8));
  expect_error([&] { add(context, b.tensor, a.tensor, a.tensor); },
               {"add", "output F32 [4]", "[5]"});
  expect_error([&] { add(context, a.tensor, a.tensor, b.tensor); }, {"add", "b F32 [4]", "[5]"});
  expect_error([&] { add(context, bytes.tensor, bytes.tensor, bytes.tensor); },
               {"add", "a F32", "U8 [4]"});
}

}  // namespace
}  // namespace stagecoach
