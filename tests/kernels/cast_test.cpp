#include "kernels/cast.h"

#include <gtest/gtest.h>

#include "core/bfloat16.h"
#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::expect_error;
using testing::random_tensor;
using testing::run_on_context;

TEST(Cast, RoundsToBf16AndWidensBack) {
  const OwnedTensor input = random_tensor(row_major({100003}), 1, 100.0f);
  const OwnedTensor narrow(row_major({100003}, DType::kBF16)), wide(row_major({100003}));
  run_on_context(2, [&](Context& context) {
    cast(context, narrow.tensor, input.tensor);
    cast(context, wide.tensor, narrow.tensor);
  });
  for (std::int64_t i = 0; i < input.tensor.elements(); ++i) {
    const BFloat16 expected(input.tensor.as<float>()[i]);
    ASSERT_EQ(narrow.tensor.as<BFloat16>()[i].bits, expected.bits) << i;
    ASSERT_EQ(wide.tensor.as<float>()[i], static_cast<float>(expected)) << i;
  }
}

TEST(Cast, RefusesOtherTypesAndShapes) {
  Context context;
  const OwnedTensor a(row_major({4})), b(row_major({5})), c(row_major({4}, DType::kI32));
  expect_error([&] { cast(context, b.tensor, a.tensor); }, {"cast", "output F32 [4]", "[5]"});
  expect_error([&] { cast(context, c.tensor, a.tensor); }, {"cast", "F32 or BF16", "I32"});
}

}  // namespace
}  // namespace stagecoach
