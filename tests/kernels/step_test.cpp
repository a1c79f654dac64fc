#include "kernels/step.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/cpu/step.h"

namespace stagecoach {
namespace {

// Tasks see the values of the last begin_step() that was enqueued before them.
TEST(Step, IsToldInTheOrderOfTheStream) {
  Context context;
  std::vector<StepValues> seen;
  for (const std::int64_t step : {7, 8}) {
    begin_step(context, {.step = step, .learning_rate = 0.5f, .adam = {0.25f, 0.125f}});
    context.stream().enqueue([&] { seen.push_back(cpu::step_values(context)); });
  }
  context.stream().synchronize();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].step, 7);
  EXPECT_EQ(seen[1].step, 8);
  EXPECT_EQ(seen[1].learning_rate, 0.5f);
  EXPECT_EQ(seen[1].adam.rate, 0.25f);
  EXPECT_EQ(seen[1].adam.root2, 0.125f);
}

TEST(Step, IsOfOneContext) {
  Context one, other;
  begin_step(one, {.step = 7});
  one.stream().synchronize();
  EXPECT_EQ(cpu::step_values(one).step, 7);
  EXPECT_EQ(cpu::step_values(other).step, 0);
}

}  // namespace
}  // namespace stagecoach
