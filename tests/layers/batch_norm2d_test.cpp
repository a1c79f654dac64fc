#include "layers/layers.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::expect_error;
using testing::LayerRun;

constexpr double kEps = 1e-5;

// Of channel `c` of an image tensor, in double.
struct Statistics {
  Statistics(const Tensor& x, std::int64_t c) {
    const Shape& s = x.shape();
    count = static_cast<double>(s[0] * s[2] * s[3]);
    for (std::int64_t n = 0; n < s[0]; ++n) {
      for (std::int64_t i = 0; i < s[2] * s[3]; ++i) mean += at(x, n, c, i / s[3], i % s[3]);
    }
    mean /= count;
    for (std::int64_t n = 0; n < s[0]; ++n) {
      for (std::int64_t i = 0; i < s[2] * s[3]; ++i) {
        variance += std::pow(at(x, n, c, i / s[3], i % s[3]) - mean, 2);
      }
    }
    variance /= count;
  }
  double mean = 0, variance = 0, count = 0;
};

TEST(BatchNorm2dLayer, Plans) {
  const TensorSpec input = channels_last(8, 5, 4, 3);
  const LayerPlan plan = testing::plan_of(batch_norm2d_layer(5), input, 2);
  EXPECT_EQ(plan.inputs[0], input);
  EXPECT_EQ(plan.outputs[0], input);
  ASSERT_EQ(plan.parameters.size(), 2u);
  EXPECT_EQ(plan.parameters[0].name, "weight");
  EXPECT_EQ(plan.parameters[0].init.a, 1.0f);
  EXPECT_EQ(plan.parameters[1].name, "bias");
  ASSERT_EQ(plan.buffers.size(), 2u);
  EXPECT_EQ(plan.buffers[0].name, "running_mean");
  EXPECT_EQ(plan.buffers[1].name, "running_var");
  EXPECT_EQ(plan.buffers[1].init.a, 1.0f);
  EXPECT_EQ(plan.step_state.size(), 2u);
}

TEST(BatchNorm2dLayer, NormalisesByTheMicroBatchsStatistics) {
  // More pixels than one piece of a sum has.
  LayerRun run(batch_norm2d_layer(3), channels_last(4, 3, 13, 11));
  run.run();
  const Shape& s = run.x.tensor.shape();
  for (std::int64_t c = 0; c < 3; ++c) {
    const Statistics own(run.x.tensor, c);
    const double root = std::sqrt(own.variance + kEps);
    const double weight = run.parameters[0].tensor.as<float>()[c];
    const double bias = run.parameters[1].tensor.as<float>()[c];
    double sum = 0, scaled = 0;
    for (std::int64_t n = 0; n < s[0]; ++n) {
      for (std::int64_t i = 0; i < s[2] * s[3]; ++i) {
        const double z = (at(run.x.tensor, n, c, i / s[3], i % s[3]) - own.mean) / root;
        ASSERT_NEAR(at(run.y.tensor, n, c, i / s[3], i % s[3]), z * weight + bias, 1e-6);
        const double g = at(run.g.tensor, n, c, i / s[3], i % s[3]);
        sum += g;
        scaled += g * z;
      }
    }
    EXPECT_NEAR(run.parameter_grads[0].tensor.as<float>()[c], scaled, 1e-4);
    EXPECT_NEAR(run.parameter_grads[1].tensor.as<float>()[c], sum, 1e-4);
    for (std::int64_t n = 0; n < s[0]; ++n) {
      for (std::int64_t i = 0; i < s[2] * s[3]; ++i) {
        const double z = (at(run.x.tensor, n, c, i / s[3], i % s[3]) - own.mean) / root;
        const double g = at(run.g.tensor, n, c, i / s[3], i % s[3]);
        ASSERT_NEAR(at(run.dx.tensor, n, c, i / s[3], i % s[3]),
                    weight / root * (g - (sum + z * scaled) / own.count), 1e-6);
      }
    }
    EXPECT_NEAR(run.step_state[0].tensor.as<float>()[c], own.mean, 1e-6);
    EXPECT_NEAR(run.step_state[1].tensor.as<float>()[c], own.variance, 1e-6);
  }
}

TEST(BatchNorm2dLayer, EvaluatesByTheRunningStatistics) {
  LayerRun run(batch_norm2d_layer(2), channels_last(1, 2, 2, 2));
  for (std::int64_t c = 0; c < 2; ++c) {
    run.buffers[0].tensor.as<float>()[c] = 0.5f;
    run.buffers[1].tensor.as<float>()[c] = 4.0f;
  }
  run.forward({.training = false});
  for (std::int64_t c = 0; c < 2; ++c) {
    const double z = (at(run.x.tensor, 0, c, 1, 0) - 0.5) / std::sqrt(4 + kEps);
    EXPECT_NEAR(
        at(run.y.tensor, 0, c, 1, 0),
        z * run.parameters[0].tensor.as<float>()[c] + run.parameters[1].tensor.as<float>()[c],
        1e-6);
  }
}

// Statistics of two micro-batches are those of one batch of both.
TEST(BatchNorm2dLayer, TheEndOfAStepTakesInAllMicroBatches) {
  const auto layer = batch_norm2d_layer(3, {.momentum = 0.25f});
  LayerRun all(layer, channels_last(4, 3, 2, 5), 2, false, 5);
  const OwnedTensor means(row_major({2, 3})), variances(row_major({2, 3}));
  for (int m = 0; m < 2; ++m) {
    LayerRun half(layer, channels_last(2, 3, 2, 5));
    testing::copy(half.x.tensor, rows_of(all.x.tensor, 2 * m, 2));
    half.forward({.index = m});
    for (int c = 0; c < 3; ++c) {
      at(means.tensor, m, c) = half.step_state[0].tensor.as<float>()[c];
      at(variances.tensor, m, c) = half.step_state[1].tensor.as<float>()[c];
    }
  }
  LayerRun half(layer, channels_last(2, 3, 2, 5));
  const std::vector<Tensor> buffers = testing::views(half.buffers);
  const std::vector<Tensor> state = {means.tensor, variances.tensor};
  testing::run_on_context(1, [&](Context& context) {
    LayerCall call;
    call.buffers = buffers;
    call.step_state = state;
    layer->end_step(context, half.plan, call);
  });
  for (std::int64_t c = 0; c < 3; ++c) {
    const Statistics own(all.x.tensor, c);
    EXPECT_NEAR(half.buffers[0].tensor.as<float>()[c], 0.25 * own.mean, 1e-6);
    EXPECT_NEAR(half.buffers[1].tensor.as<float>()[c],
                0.75 + 0.25 * own.variance * own.count / (own.count - 1), 1e-6);
  }
}

TEST(BatchNorm2dLayer, ASecondForwardLeavesNoStatistics) {
  LayerRun run(batch_norm2d_layer(2), channels_last(1, 2, 2, 2));
  run.forward();
  const std::vector<Tensor> inputs = {run.x.tensor}, outputs = {run.y.tensor};
  const std::vector<Tensor> parameters = testing::views(run.parameters);
  const std::vector<Tensor> buffers = testing::views(run.buffers);
  const std::vector<OwnedTensor> saved = testing::poisoned(run.plan.saved);
  const std::vector<Tensor> saved_views = testing::views(saved);
  const std::vector<std::uint8_t> first = testing::bytes_of(run.y.tensor);
  testing::run_on_context(1, run.plan.workspace_bytes, [&](Context& context) {
    LayerCall call;
    call.inputs = inputs;
    call.outputs = outputs;
    call.parameters = parameters;
    call.buffers = buffers;
    call.saved = saved_views;
    call.recompute = true;  // no step_state
    run.layer->forward(context, run.plan, call);
    context.stream().synchronize();
  });
  EXPECT_EQ(testing::bytes_of(run.y.tensor), first);
}

TEST(BatchNorm2dLayer, DescribesItselfAndRefusesWhatDoesNotFit) {
  EXPECT_EQ(batch_norm2d_layer(64)->describe(), "BatchNorm2d(64)");
  expect_error([] { batch_norm2d_layer(0); }, {"batch_norm2d_layer", "features >= 1"});
  expect_error([] { batch_norm2d_layer(3, {.eps = 0}); }, {"batch_norm2d_layer", "eps > 0"});
  const auto layer = batch_norm2d_layer(3);
  expect_error([&] { testing::plan_of(layer, channels_last(1, 4, 2, 2), 1); },
               {"BatchNorm2d: expected input F32 or BF16 [N, 3, H, W]", "[1, 4, 2, 2]"});
}

}  // namespace
}  // namespace stagecoach
