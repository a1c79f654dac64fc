// The norm of gradients and what is clipped by it, against the CPU's.
#include "kernels/gradient_norm.h"

#include <gtest/gtest.h>

#include "kernels/step.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::Gpu;

struct Clipped {
  double norm = 0;
  std::vector<float> gradients;
};

Clipped clip(Context& context, const Tensor& gradients, Tensor workspace, double max_norm) {
  constexpr std::int64_t kStep = 6;
  const Buffer memory = shared_host_memory({&context}, 8 * (1 + kNormsKept));
  auto* sum = static_cast<double*>(memory.data());
  context.set_workspace(workspace);
  begin_step(context, {.step = kStep});
  sum_of_squares(context, sum, gradients);
  clip_gradients(context, gradients, {sum, 1}, max_norm, sum + 1);
  const OwnedTensor result = to_host(context.stream(), gradients);
  return {sum[1 + kStep % kNormsKept], testing::values_of(result.tensor)};
}

TEST(GradientNormShim, IsTheCpus) {
  for (const std::int64_t count : {1, 127, 16384, 16385, 300'007}) {
    for (const double share : {0.5, 2.0}) {
      const OwnedTensor values = testing::random_tensor(row_major({count}), 3),
                        scratch(row_major({kSumOfSquaresWorkspace}, DType::kU8)),
                        on_cpu = testing::copy_of(values.tensor);
      const double limit = share * std::sqrt(static_cast<double>(count) / 3);
      Context cpu(1);
      const Clipped expected = clip(cpu, on_cpu.tensor, scratch.tensor, limit);
      Gpu gpu;
      const Clipped got =
          clip(gpu.context(), gpu.put(values.tensor), gpu.make(scratch.tensor.spec), limit);
      EXPECT_NEAR(got.norm, expected.norm, 1e-14 * expected.norm) << count;
      EXPECT_EQ(got.gradients, expected.gradients) << count;
    }
  }
}

}  // namespace
}  // namespace stagecoach
