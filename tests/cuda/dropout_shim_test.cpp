// Dropout's kernel against the CPU's, whose mask it must have bit for bit.
#include <gtest/gtest.h>

#include "core/graph.h"
#include "kernels/dropout.h"
#include "kernels/step.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::Gpu;
using testing::on_cpu;
using testing::on_gpu;
using testing::random_inputs;
using testing::same_values;

struct Case {
  DType dtype;
  std::int64_t rows, columns;
  float p;
};

class DropoutShim : public ::testing::TestWithParam<Case> {};

TEST_P(DropoutShim, HasTheCpusMask) {
  const auto [dtype, rows, columns, p] = GetParam();
  const DropoutMask mask{.p = p,
                         .seed = 0x123456789ABCDEF,
                         .layer = 7,
                         .first_sample = 0xFFFFFFF0};  // rows pass the end of 32 bits
  const TensorSpec spec = row_major({rows, columns}, dtype);
  const auto inputs = random_inputs({spec, spec, spec}, 3);
  const auto both_ways = [&](Context& context, const std::vector<Tensor>& t) {
    begin_step(context, {.step = 11});
    dropout_forward(context, t[0], t[1], mask);
    dropout_backward(context, t[2], t[2], mask);
  };
  EXPECT_TRUE(same_values(on_gpu(inputs, both_ways), on_cpu(inputs, both_ways)));
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, DropoutShim,
    ::testing::Values(Case{DType::kF32, 1, 1, 0.5f}, Case{DType::kF32, 3, 8, 0.5f},
                      Case{DType::kF32, 5, 30, 0.3f}, Case{DType::kF32, 33, 4096, 0.5f},
                      Case{DType::kF32, 2, 100, 0.0f}, Case{DType::kBF16, 1, 1, 0.5f},
                      Case{DType::kBF16, 3, 8, 0.5f}, Case{DType::kBF16, 5, 30, 0.3f},
                      Case{DType::kBF16, 5, 36, 0.3f}, Case{DType::kBF16, 33, 4096, 0.5f},
                      Case{DType::kBF16, 2, 100, 0.0f}));

TEST(DropoutShim, DropsWhatIsNotFinite) {
  const std::vector<float> values(64, std::nanf(""));
  Gpu gpu;
  Tensor tensor = gpu.put(values);
  tensor.spec = row_major({1, 64});
  begin_step(gpu.context(), {});
  dropout_forward(gpu.context(), tensor, tensor, {.p = 0.5f, .seed = 1});
  const std::vector<float> result = gpu.get(tensor);
  const auto zeros = std::count(result.begin(), result.end(), 0.0f);
  EXPECT_GT(zeros, 10);
  EXPECT_LT(zeros, 54);
}

// A graph that was captured once has the mask of the step that was begun before each launch.
TEST(DropoutShim, GraphHasTheMaskOfTheStepBegun) {
  const TensorSpec spec = row_major({4, 40});
  const OwnedTensor input = testing::random_tensor(spec, 9);
  Gpu gpu;
  const Tensor from = gpu.put(input.tensor), to = gpu.make(spec);
  begin_step(gpu.context(), {.step = 0});
  dropout_forward(gpu.context(), to, from, {.p = 0.4f});  // the driver loads it when it first runs
  gpu.context().stream().synchronize();
  Stream* const streams[] = {&gpu.context().stream()};
  const auto graph = Graph::capture(
      streams, [&] { dropout_forward(gpu.context(), to, from, {.p = 0.4f, .seed = 5}); });
  for (const std::int64_t step : {3, 4}) {
    begin_step(gpu.context(), {.step = step});
    graph->launch(gpu.context().stream());
    const OwnedTensor expected(spec);
    testing::run_on_context(1, [&](Context& context) {
      begin_step(context, {.step = step});
      dropout_forward(context, expected.tensor, input.tensor, {.p = 0.4f, .seed = 5});
    });
    EXPECT_TRUE(same_values(gpu.get(to), testing::values_of(expected.tensor))) << step;
  }
}

}  // namespace
}  // namespace stagecoach
