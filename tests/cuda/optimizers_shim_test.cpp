// The optimizers' kernels against their definition in double, the BF16 copy, and what a raised
// failure flag leaves alone.
#include <gtest/gtest.h>

#include "kernels/optimizers.h"
#include "kernels/step.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

using testing::Gpu;
using testing::same_values;

constexpr int kSteps = 4;
constexpr float kRates[kSteps] = {0.1f, 0.01f, 0.3f, 0.0f};  // of the steps

std::vector<float> numbers(std::int64_t count, std::uint64_t seed) {
  const OwnedTensor tensor = testing::random_tensor(row_major({count}), seed);
  return testing::values_of(tensor.tensor);
}

// The tensors of one optimizer on the GPU, at `shift` elements from an aligned address.
struct State {
  State(Gpu& gpu, std::int64_t count, std::int64_t shift, bool with_copy)
      : parameter(make(gpu, count, shift, 1)),
        first(gpu.make(row_major({count + shift}))),
        second(gpu.make(row_major({count + shift}))),
        grad(make(gpu, count, shift, 2)) {
    first = rows_of(first, shift, count);
    second = rows_of(second, shift, count);
    if (with_copy) {
      copy = rows_of(gpu.make(row_major({count + shift}, DType::kBF16)), shift, count);
    }
  }
  static Tensor make(Gpu& gpu, std::int64_t count, std::int64_t shift, std::uint64_t seed) {
    std::vector<float> values(static_cast<std::size_t>(shift), 0.0f);
    const std::vector<float> random = numbers(count, seed);
    values.insert(values.end(), random.begin(), random.end());
    return rows_of(gpu.put(values), shift, count);
  }
  Tensor parameter, first, second, grad, copy;
};

// One element of the definitions in double, and what its float may be off.
struct Exact {
  double parameter, first = 0, second = 0, error = 0;

  void sgd(double grad, double rate, const SgdOptions& options) {
    first = options.momentum * first + grad + options.weight_decay * parameter;
    parameter -= rate * first;
    grow(rate * first);
  }
  void adam(double grad, const AdamRates& rates, const AdamOptions& options) {
    const double g = grad + options.weight_decay * parameter;
    first += (1 - options.beta1) * (g - first);
    second = options.beta2 * second + (1 - options.beta2) * g * g;
    const double update = rates.rate * first / (std::sqrt(second) / rates.root2 + options.epsilon);
    parameter -= update;
    grow(update);
  }
  // Each step rounds a few times: 8 halves of a unit in the last place of what is added.
  void grow(double update) { error += 8 * std::ldexp(std::abs(parameter) + std::abs(update), -24); }
};

class OptimizersShim : public ::testing::TestWithParam<std::tuple<std::int64_t, std::int64_t>> {
 protected:
  std::int64_t count() const { return std::get<0>(GetParam()); }
  std::int64_t shift() const { return std::get<1>(GetParam()); }

  void expect_near(Gpu& gpu, const State& state, const std::vector<Exact>& exact) const {
    std::vector<float> rounded = gpu.get(state.parameter);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      ASSERT_NEAR(rounded[i], exact[i].parameter, exact[i].error) << i;
      rounded[i] = static_cast<float>(BFloat16(rounded[i]));
    }
    EXPECT_TRUE(same_values(gpu.get(state.copy), rounded));
  }
  std::vector<Exact> start() const {
    std::vector<Exact> exact;
    for (const float value : numbers(count(), 1)) exact.push_back({value});
    return exact;
  }
};

TEST_P(OptimizersShim, SgdWithTheRateOfTheStep) {
  Gpu gpu;
  const State state(gpu, count(), shift(), true);
  const SgdOptions options{.momentum = 0.9f, .weight_decay = 0.01f};
  std::vector<Exact> exact = start();
  const std::vector<float> grad = numbers(count(), 2);
  for (int step = 0; step < kSteps; ++step) {
    begin_step(gpu.context(), {.step = step, .learning_rate = kRates[step]});
    sgd_step(gpu.context(), state.parameter, state.first, state.grad, options, state.copy);
    for (std::size_t i = 0; i < exact.size(); ++i) exact[i].sgd(grad[i], kRates[step], options);
  }
  expect_near(gpu, state, exact);
}

TEST_P(OptimizersShim, AdamWithTheRatesOfTheStep) {
  Gpu gpu;
  const State state(gpu, count(), shift(), true);
  const AdamOptions options{.weight_decay = 0.01f};
  std::vector<Exact> exact = start();
  const std::vector<float> grad = numbers(count(), 2);
  for (int step = 1; step <= kSteps; ++step) {
    const AdamRates rates = adam_rates(kRates[step - 1], options, step);
    begin_step(gpu.context(), {.step = step, .adam = rates});
    adam_step(gpu.context(), state.parameter, state.first, state.second, state.grad, options,
              state.copy);
    for (std::size_t i = 0; i < exact.size(); ++i) exact[i].adam(grad[i], rates, options);
  }
  expect_near(gpu, state, exact);
}

// The copy is the only difference.
TEST_P(OptimizersShim, WithoutACopyTheSame) {
  std::vector<std::vector<float>> results;
  for (const bool with_copy : {false, true}) {
    Gpu gpu;
    const State state(gpu, count(), shift(), with_copy);
    begin_step(gpu.context(), {.learning_rate = 0.1f, .adam = {0.1f, 0.5f}});
    sgd_step(gpu.context(), state.parameter, state.first, state.grad, {}, state.copy);
    adam_step(gpu.context(), state.parameter, state.first, state.second, state.grad, {},
              state.copy);
    results.push_back(gpu.get(state.parameter));
  }
  EXPECT_TRUE(same_values(results[0], results[1]));
}

TEST_P(OptimizersShim, LeaveEverythingWhenTheFlagIsRaised) {
  Gpu gpu;
  const State state(gpu, count(), shift(), true);
  const Buffer buffer = Buffer::pinned(sizeof(std::uint32_t), testing::kGpu);
  auto* flag = static_cast<std::uint32_t*>(buffer.data());
  gpu.context().set_failure_flag(flag);
  const auto everything = [&] {
    testing::Values values;
    for (const Tensor& t : {state.parameter, state.first, state.second, state.copy}) {
      values.push_back(gpu.get(t));
    }
    return values;
  };
  const auto step = [&] {
    begin_step(gpu.context(), {.learning_rate = 0.1f, .adam = {0.1f, 0.5f}});
    sgd_step(gpu.context(), state.parameter, state.first, state.grad, {}, state.copy);
    adam_step(gpu.context(), state.parameter, state.first, state.second, state.grad, {},
              state.copy);
  };
  step();  // so that moments and copy are not zeros
  const testing::Values before = everything();
  *flag = 1;
  step();
  EXPECT_TRUE(same_values(everything(), before));
  *flag = 0;
  step();
  const testing::Values after = everything();
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_FALSE(same_values(after[i], before[i]));
}

INSTANTIATE_TEST_SUITE_P(Sizes, OptimizersShim,
                         ::testing::Combine(::testing::Values(1, 4, 7, 1000, 4099),
                                            ::testing::Values(0, 1)));

}  // namespace
}  // namespace stagecoach
