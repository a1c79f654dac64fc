#include "kernels/finite.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/optimizers.h"
#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::filled_tensor;

TEST(Finite, RaisesTheFlagForALossThatIsNotFinite) {
  for (const float value : {1.0f, NAN, INFINITY, -INFINITY}) {
    std::uint32_t flag = 0;
    const OwnedTensor losses = filled_tensor(row_major({5}), 1.0f);
    losses.tensor.as<float>()[4] = value;
    testing::run_on_context(1, [&](Context& context) {
      raise_unless_finite(context, losses.tensor);  // without a flag
      context.set_failure_flag(&flag);
      raise_unless_finite(context, losses.tensor);
    });
    EXPECT_EQ(flag, std::isfinite(value) ? 0u : 1u) << value;
  }
}

TEST(Finite, ARaisedFlagLeavesWeightsAndStatesAsTheyAre) {
  std::uint32_t flag = 1;
  const OwnedTensor p = filled_tensor(row_major({5}), 1.0f),
                    grad = filled_tensor(row_major({5}), 2.0f);
  const OwnedTensor first(row_major({5})), second(row_major({5}));
  const auto step = [&] {
    testing::run_on_context(1, [&](Context& context) {
      context.set_failure_flag(&flag);
      begin_step(context, {.learning_rate = 0.1f, .adam = {.rate = 0.1f}});
      sgd_step(context, p.tensor, first.tensor, grad.tensor, {});
      adam_step(context, p.tensor, first.tensor, second.tensor, grad.tensor, {});
    });
    return std::vector{bytes_of(p.tensor), bytes_of(first.tensor), bytes_of(second.tensor)};
  };
  const std::vector<std::uint8_t> zeros(20, 0);
  EXPECT_EQ(step(),
            (std::vector{bytes_of(filled_tensor(row_major({5}), 1.0f).tensor), zeros, zeros}));
  flag = 0;
  EXPECT_NE(step()[2], zeros);
}

TEST(Finite, RefusesOtherTensors) {
  Context context;
  const OwnedTensor labels(row_major({4}, DType::kI32));
  testing::expect_error([&] { raise_unless_finite(context, labels.tensor); },
                        {"raise_unless_finite", "losses F32 [4]", "I32 [4]"});
}

}  // namespace
}  // namespace stagecoach
