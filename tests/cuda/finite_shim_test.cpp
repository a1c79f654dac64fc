// The failure flag, which losses that are not finite raise.
#include "kernels/finite.h"

#include <gtest/gtest.h>

#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

std::uint32_t flag_after(const std::vector<float>& losses) {
  testing::Gpu gpu;
  const Buffer flag = Buffer::pinned(sizeof(std::uint32_t), testing::kGpu);
  gpu.context().set_failure_flag(static_cast<std::uint32_t*>(flag.data()));
  raise_unless_finite(gpu.context(), gpu.put(losses));
  gpu.context().stream().synchronize();
  return *static_cast<std::uint32_t*>(flag.data());
}

TEST(FiniteShim, RaisesTheFlagForALossThatIsNotFinite) {
  EXPECT_EQ(flag_after({1, 2, -3e38f}), 0u);
  std::vector<float> many(700, 1.0f);
  EXPECT_EQ(flag_after(many), 0u);
  for (const float value : {std::nanf(""), INFINITY, -INFINITY}) {
    many[699] = value;
    EXPECT_EQ(flag_after(many), kRaised) << value;
    EXPECT_EQ(flag_after({value}), kRaised) << value;
  }
}

TEST(FiniteShim, DoesNothingWithoutAFlag) {
  testing::Gpu gpu;
  raise_unless_finite(gpu.context(), gpu.put(std::vector<float>{std::nanf("")}));
  EXPECT_NO_THROW(gpu.context().stream().synchronize());
}

}  // namespace
}  // namespace stagecoach
