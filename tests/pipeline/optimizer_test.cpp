#include "pipeline/optimizer.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::copy_of;
using testing::random_tensor;

constexpr std::int64_t kCount = 37;

std::vector<std::string> names_of(const Optimizer& optimizer) {
  std::vector<std::string> names;
  for (const OptimizerState& state : optimizer.states()) names.emplace_back(state.name);
  return names;
}

// Parameters and states after two steps, as bytes.
template <typename Step>
std::vector<std::vector<std::uint8_t>> after_steps(const Optimizer& optimizer, const Step& step) {
  const OwnedTensor parameters = random_tensor(row_major({kCount}), 1);
  const OwnedTensor gradients = random_tensor(row_major({kCount}), 2);
  const OwnedTensor first(row_major({kCount})), second(row_major({kCount}));
  FlatShard shard{parameters.tensor, gradients.tensor, {first.tensor}, {}};
  if (optimizer.states().size() == 2) shard.states.push_back(second.tensor);
  testing::run_on_context(1, [&](Context& context) {
    for (int i = 0; i < 2; ++i) {
      begin_step(context, optimizer.values(i));
      step(context, shard);
    }
  });
  return {bytes_of(parameters.tensor), bytes_of(first.tensor), bytes_of(second.tensor)};
}

TEST(Optimizer, NamesItsStatesAsPyTorchDoes) {
  EXPECT_EQ(make_sgd(0.1f)->name(), "sgd");
  EXPECT_EQ(names_of(*make_sgd(0.1f)), (std::vector<std::string>{"momentum_buffer"}));
  EXPECT_EQ(make_adam(0.1f)->name(), "adam");
  EXPECT_EQ(names_of(*make_adam(0.1f)), (std::vector<std::string>{"exp_avg", "exp_avg_sq"}));
}

TEST(Optimizer, KnowsTheValuesOfEveryStep) {
  const StepValues sgd = make_sgd(0.1f)->values(6);
  EXPECT_EQ(sgd.step, 6);
  EXPECT_EQ(sgd.learning_rate, 0.1f);
  const StepValues adam = make_adam(0.1f, {.beta1 = 0.5})->values(6);
  EXPECT_EQ(adam.step, 6);
  const AdamRates rates = adam_rates(0.1f, {.beta1 = 0.5}, 7);
  EXPECT_EQ(adam.adam.rate, rates.rate);
  EXPECT_EQ(adam.adam.root2, rates.root2);
}

TEST(Optimizer, StepsAShardByItsOptions) {
  const SgdOptions sgd{.momentum = 0.5f, .weight_decay = 0.1f};
  const auto make = make_sgd(0.1f, sgd);
  EXPECT_EQ(after_steps(*make, [&](Context& c, const FlatShard& s) { make->step(c, s); }),
            after_steps(*make, [&](Context& c, const FlatShard& s) {
              sgd_step(c, s.parameters, s.states[0], s.gradients, sgd);
            }));
  const AdamOptions adam{.beta1 = 0.5, .beta2 = 0.9, .epsilon = 1e-3f, .weight_decay = 0.1f};
  const auto other = make_adam(0.1f, adam);
  EXPECT_EQ(after_steps(*other, [&](Context& c, const FlatShard& s) { other->step(c, s); }),
            after_steps(*other, [&](Context& c, const FlatShard& s) {
              adam_step(c, s.parameters, s.states[0], s.states[1], s.gradients, adam);
            }));
}

TEST(Optimizer, RefusesAShardWithoutItsStates) {
  Context context;
  const OwnedTensor p(row_major({4}));
  testing::expect_error(
      [&] {
        make_sgd(0.1f)->step(context, {p.tensor, p.tensor, {}, {}});
      },
      {"sgd: expected 1 states, got 0"});
  testing::expect_error(
      [&] {
        make_adam(0.1f)->step(context, {p.tensor, p.tensor, {p.tensor}, {}});
      },
      {"adam: expected 2 states, got 1"});
}

}  // namespace
}  // namespace stagecoach
