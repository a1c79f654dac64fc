// What every layer must keep to, whatever it computes.
#include "layers/layer.h"

#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "layers/layers.h"
#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::expect_same_bytes_for_any_threads;
using testing::LayerRun;

struct Case {
  const char* name;
  std::function<std::shared_ptr<const Layer>()> make;
  TensorSpec input;
  // Of the finite differences: wide for linear functions, where only rounding counts; for the
  // others below the distance of the values that fill_apart() gives.
  float step;
  double tolerance = 1e-4;
  bool in_evaluation = true;  // has gradients there, too
  int inputs = 1;
};

void PrintTo(const Case& one, std::ostream* stream) {
  *stream << one.name;
}

constexpr float kWide = 0.25f, kNarrow = 1.0f / 1024;

std::vector<Case> cases() {
  return {
      {"Conv2d",
       [] {
         return conv2d_layer(3, 4, 3, {2, 1, 1, 0});
       },
       channels_last(2, 3, 7, 5), kWide},
      {"Linear", [] { return linear_layer(13, 5); }, row_major({3, 13}), kWide},
      {"Relu", relu_layer, channels_last(2, 3, 4, 5), kNarrow},
      {"ReluOfRank2", relu_layer, row_major({3, 13}), kNarrow},
      {"MaxPool2d",
       [] {
         return max_pool2d_layer({3, 3, 2, 2, 1, 0});
       },
       channels_last(2, 4, 7, 8), kNarrow},
      {"AdaptiveAvgPool2d", [] { return adaptive_avg_pool2d_layer(3, 2); },
       channels_last(2, 3, 7, 5), kWide},
      {"Flatten", flatten_layer, channels_last(2, 3, 4, 5), kWide},
      {"Dropout", [] { return dropout_layer(0.3f); }, channels_last(2, 3, 4, 5), kWide},
      {"DropoutOfRank2", [] { return dropout_layer(0.3f); }, row_major({3, 13}), kWide},
      {"BatchNorm2d", [] { return batch_norm2d_layer(3); }, channels_last(2, 3, 4, 5), kNarrow * 4,
       2e-3, false},
      {"Add", add_layer, channels_last(2, 3, 4, 5), kWide, 1e-4, true, 2},
  };
}

// All values at least 1/256 apart and 1/512 from zero, in no order; exact, with few bits.
void fill_apart(const Tensor& tensor) {
  const std::int64_t count = tensor.elements();
  ASSERT_NE(count % 37, 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t place = i * 37 % count;
    tensor.as<float>()[i] = static_cast<float>(2 * (place - count / 2) + 1) / 512.0f;
  }
}

// sum(y * g): its gradient with respect to x is dx, and likewise for the parameters.
double objective(LayerRun& run, const MicroBatch& micro) {
  run.forward(micro);
  double sum = 0.0;
  for (std::int64_t i = 0; i < run.y.tensor.elements(); ++i) {
    sum += static_cast<double>(run.y.tensor.as<float>()[i]) * run.g.tensor.as<float>()[i];
  }
  return sum;
}

void expect_gradient(LayerRun& run, const MicroBatch& micro, const Tensor& variable,
                     const Tensor& gradient, const Case& one, const std::string& name) {
  const float step = one.step;
  float* values = variable.as<float>();
  for (std::int64_t i = 0; i < variable.elements(); ++i) {
    const float middle = values[i];
    values[i] = middle + step;
    const double above = objective(run, micro);
    values[i] = middle - step;
    const double below = objective(run, micro);
    values[i] = middle;
    ASSERT_NEAR(gradient.as<float>()[i], (above - below) / (2.0 * step), one.tolerance)
        << name << i;
  }
}

class LayerTest : public ::testing::TestWithParam<Case> {};
class InPlaceTest : public LayerTest {};
class ParametersTest : public LayerTest {};

TEST_P(LayerTest, GradientsAgreeWithFiniteDifferences) {
  for (const bool training : {true, false}) {
    const MicroBatch micro{
        .seed = 3, .step = 5, .index = 1, .first_sample = 12, .training = training};
    if (!training && !GetParam().in_evaluation) continue;
    LayerRun run(GetParam().make(), GetParam().input, 2, false, 1, GetParam().inputs);
    fill_apart(run.x.tensor);
    run.run(micro);
    const OwnedTensor dx = testing::copy_of(run.dx.tensor);
    expect_gradient(run, micro, run.x.tensor, dx.tensor, GetParam(), "input ");
    for (std::size_t i = 0; i < run.parameters.size(); ++i) {
      expect_gradient(run, micro, run.parameters[i].tensor, run.parameter_grads[i].tensor,
                      GetParam(), run.plan.parameters[i].name + " ");
    }
  }
}

TEST_P(InPlaceTest, GivesTheSameBytesAsApart) {
  const std::shared_ptr<const Layer> layer = GetParam().make();
  LayerRun apart(layer, GetParam().input);
  EXPECT_EQ(apart.plan.outputs, apart.plan.inputs);
  for (const bool training : {true, false}) {
    LayerRun within(layer, GetParam().input, 2, /*run_in_place=*/true);
    apart.run({.training = training});
    within.run({.training = training});
    EXPECT_EQ(within.bytes(), apart.bytes());
  }
}

// F of three micro-batches, then B and W in another order than F: as one after another.
TEST_P(LayerTest, MicroBatchesInFlightDoNotMix) {
  const std::shared_ptr<const Layer> layer = GetParam().make();
  const auto micro = [](int i) { return MicroBatch{.index = i, .first_sample = 2 * i}; };
  std::vector<LayerRun> flying, single;
  for (std::uint64_t i = 0; i < 3; ++i) {
    flying.emplace_back(layer, GetParam().input, 2, false, 10 + i, GetParam().inputs);
    single.emplace_back(layer, GetParam().input, 2, false, 10 + i, GetParam().inputs);
  }
  const auto mode = [](int i) {
    return i == 1 ? GradientMode::kOverwrite : GradientMode::kAccumulate;
  };
  for (int i = 0; i < 3; ++i) flying[i].forward(micro(i));
  for (const int i : {1, 2, 0}) flying[i].backward(flying[0].parameter_grads, micro(i), mode(i));
  for (const int i : {1, 2, 0}) {
    single[i].forward(micro(i));
    single[i].backward(single[0].parameter_grads, micro(i), mode(i));
  }
  for (int i = 0; i < 3; ++i) EXPECT_EQ(flying[i].bytes(), single[i].bytes()) << i;
  EXPECT_NE(flying[0].bytes(), flying[1].bytes());
}

TEST_P(ParametersTest, AddUpTheGradientsOfMicroBatches) {
  const std::shared_ptr<const Layer> layer = GetParam().make();
  LayerRun first(layer, GetParam().input, 2, false, 10);
  LayerRun second(layer, GetParam().input, 2, false, 11);
  LayerRun sum(layer, GetParam().input, 2, false, 10);
  first.run();
  second.run();
  sum.run();
  second.backward(sum.parameter_grads, {}, GradientMode::kAccumulate);
  for (std::size_t k = 0; k < sum.parameters.size(); ++k) {
    const Tensor &a = first.parameter_grads[k].tensor, &b = second.parameter_grads[k].tensor;
    for (std::int64_t i = 0; i < a.elements(); ++i) {
      ASSERT_NEAR(sum.parameter_grads[k].tensor.as<float>()[i], a.as<float>()[i] + b.as<float>()[i],
                  1e-5)
          << k << ", " << i;
    }
  }
}

TEST_P(LayerTest, GivesTheSameBytesForAnyThreads) {
  expect_same_bytes_for_any_threads([](int threads) {
    LayerRun run(GetParam().make(), GetParam().input, threads, false, 1, GetParam().inputs);
    run.run();
    return run.bytes();
  });
}

std::vector<Case> cases_with(const std::function<bool(const LayerPlan&)>& property) {
  std::vector<Case> result;
  for (const Case& one : cases()) {
    if (property(one.make()->plan(
            std::vector<TensorSpec>(static_cast<std::size_t>(one.inputs), one.input), 1)))
      result.push_back(one);
  }
  return result;
}

std::string name_of(const ::testing::TestParamInfo<Case>& test) {
  return test.param.name;
}

INSTANTIATE_TEST_SUITE_P(Of, LayerTest, ::testing::ValuesIn(cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Of, InPlaceTest, ::testing::ValuesIn(cases_with([](const LayerPlan& plan) {
                           return plan.in_place;
                         })),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Of, ParametersTest,
                         ::testing::ValuesIn(cases_with([](const LayerPlan& plan) {
                           return !plan.parameters.empty();
                         })),
                         name_of);

}  // namespace
}  // namespace stagecoach
