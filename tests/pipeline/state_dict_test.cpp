#include "pipeline/state_dict.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "core/bfloat16.h"
#include "pipeline/pipeline.h"
#include "pipeline/plain_loop.h"
#include "pipeline/schedule/generators.h"
#include "tests/kernels/checks.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::expect_error;
using testing::Job;
using testing::random_tensor;
using testing::small_options;

TEST(StateDict, GivesAndTakesCopiesByName) {
  Context context;
  StateDict state(context.stream());
  const OwnedTensor weight = random_tensor(row_major({2, 3}), 1), steps(row_major({1}));
  state.add("fc.weight", StateKind::kParameter, weight.tensor);
  state.add("bn.running_mean", StateKind::kBuffer, steps.tensor);
  ASSERT_EQ(state.entries().size(), 2u);
  EXPECT_EQ(state.entries()[1].name, "bn.running_mean");
  EXPECT_EQ(state.entries()[1].kind, StateKind::kBuffer);
  EXPECT_EQ(state.entries()[0].spec, weight.tensor.spec);
  const OwnedTensor got = state.get("fc.weight");
  EXPECT_NE(got.tensor.data, weight.tensor.data);
  EXPECT_EQ(bytes_of(got.tensor), bytes_of(weight.tensor));
  const OwnedTensor other = random_tensor(row_major({2, 3}), 2);
  state.set("fc.weight", other.tensor);
  EXPECT_EQ(bytes_of(weight.tensor), bytes_of(other.tensor));
}

TEST(StateDict, WaitsForTheStream) {
  Context context;
  StateDict state(context.stream());
  const OwnedTensor value(row_major({1}));
  state.add("x", StateKind::kParameter, value.tensor);
  context.stream().enqueue([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    *value.tensor.as<float>() = 5;
  });
  EXPECT_EQ(*state.get("x").tensor.as<float>(), 5);
}

TEST(StateDict, KnowsWhatIsNotFinite) {
  Context context;
  StateDict state(context.stream());
  const OwnedTensor value(row_major({4})), whole(row_major({4}, DType::kI32)),
      narrow(row_major({2}, DType::kBF16));
  state.add("x", StateKind::kParameter, value.tensor);
  state.add("integers", StateKind::kBuffer, whole.tensor);
  state.add("narrow", StateKind::kBuffer, narrow.tensor);
  EXPECT_TRUE(state.is_finite("x"));
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    value.tensor.as<float>()[3] = bad;
    EXPECT_FALSE(state.is_finite("x")) << bad;
  }
  value.tensor.as<float>()[3] = std::numeric_limits<float>::max();
  EXPECT_TRUE(state.is_finite("x"));
  EXPECT_TRUE(state.is_finite("integers"));
  EXPECT_TRUE(state.is_finite("narrow"));
  narrow.tensor.as<BFloat16>()[1] = BFloat16(INFINITY);
  EXPECT_FALSE(state.is_finite("narrow"));
}

TEST(StateDict, RefusesOtherNamesAndSpecs) {
  Context context;
  StateDict state(context.stream());
  const OwnedTensor value(row_major({4})), other(row_major({5}));
  state.add("x", StateKind::kParameter, value.tensor);
  EXPECT_FALSE(state.has("y"));
  expect_error([&] { state.add("x", StateKind::kBuffer, value.tensor); }, {"x twice"});
  expect_error([&] { state.get("y"); }, {"the name of a state", "y"});
  expect_error([&] { state.set("y", value.tensor); }, {"the name of a state", "y"});
  expect_error([&] { state.set("x", other.tensor); }, {"x F32 [4]", "[5]"});
}

// The names of what a loop keeps for the layer "fc1".
template <typename Loop>
std::vector<std::string> names_of_fc1(const PipelineOptions& options) {
  const Job<Loop> job(options);
  std::vector<std::string> names;
  for (const StateEntry& entry : job.loop.state()) {
    if (entry.name.starts_with("fc1.")) names.push_back(entry.name);
  }
  return names;
}

TEST(StateOfALoop, HasTheOptimizersStatesByPyTorchsNames) {
  const Schedule plain = naive_schedule(1, 2), schedule = one_f_one_b_schedule(3, 2);
  const std::vector<std::string> sgd = {"fc1.weight", "fc1.weight.momentum_buffer", "fc1.bias",
                                        "fc1.bias.momentum_buffer"};
  EXPECT_EQ(names_of_fc1<PlainLoop>(small_options(plain, {})), sgd);
  EXPECT_EQ(names_of_fc1<Pipeline>(small_options(schedule, {4, 9})), sgd);
  const auto adam = small_options(schedule, {4, 9}, 1, testing::small_adam());
  EXPECT_EQ(names_of_fc1<Pipeline>(adam),
            (std::vector<std::string>{"fc1.weight", "fc1.weight.exp_avg", "fc1.weight.exp_avg_sq",
                                      "fc1.bias", "fc1.bias.exp_avg", "fc1.bias.exp_avg_sq"}));
}

// Whatever is kept, and nothing else, decides how training goes on: it may move to other stages.
TEST(StateOfALoop, ContinuesInAnotherLoop) {
  for (const auto& optimizer : {testing::small_sgd(), testing::small_adam()}) {
    Job<PlainLoop> whole(small_options(naive_schedule(1, 2), {}, 1, optimizer));
    whole.train(2);
    Job<Pipeline> next(small_options(one_f_one_b_schedule(3, 2), {4, 9}, 1, optimizer));
    for (const StateEntry& entry : whole.loop.state()) {
      next.loop.set_state(entry.name, whole.loop.get_state(entry.name).tensor);
    }
    whole.train(2, 2);
    next.train(2, 2);
    EXPECT_EQ(next.weights(), whole.weights());
  }
}

TEST(StateOfALoop, IsFoundWhereverItIs) {
  Job<Pipeline> job(small_options(one_f_one_b_schedule(3, 2), {4, 9}));
  EXPECT_TRUE(job.loop.is_finite("fc1.bias"));
  OwnedTensor bias = job.loop.get_state("fc1.bias");
  bias.tensor.as<float>()[0] = INFINITY;
  job.loop.set_state("fc1.bias", bias.tensor);
  EXPECT_FALSE(job.loop.is_finite("fc1.bias"));
  expect_error([&] { job.loop.get_state("fc9.bias"); }, {"the name of a state", "fc9.bias"});
  const testing::SmallBatch batch(2, 0);
  const auto found = job.loop.first_nonfinite(batch.input(0, nullptr), 2);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->layer, 8);
  EXPECT_EQ(found->micro_batch, 0);
  std::int64_t parameters = 0;
  const std::vector<StageSummary> stages = job.loop.summaries();
  ASSERT_EQ(stages.size(), 3u);
  EXPECT_EQ(stages[1].first, 4);
  EXPECT_EQ(stages[1].end, 9);
  for (const StageSummary& stage : stages) {
    parameters += stage.parameters;
    EXPECT_GT(stage.planned_bytes, 0);
    EXPECT_LE(stage.peak_bytes, stage.planned_bytes);
  }
  // Of two micro-batches of 3 rows; nobody wants the first layer's B.
  EXPECT_EQ(stages[0].multiply_adds, 2 * 2 * 3 * (16 * 16 * 4 * 3 * 9));
  EXPECT_EQ(stages[1].multiply_adds, 2 * 3 * 3 * (7 * 7 * 6 * 4 * 9 + 54 * 21));
  EXPECT_EQ(stages[2].multiply_adds, 2 * 3 * 3 * (21 * 10));
  EXPECT_EQ(parameters, job.loop.stages()[0]->parameter_count() +
                            job.loop.stages()[1]->parameter_count() +
                            job.loop.stages()[2]->parameter_count());
}

}  // namespace
}  // namespace stagecoach
