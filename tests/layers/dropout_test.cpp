#include "kernels/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "layers/layers.h"
#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::expect_error;
using testing::kLayerIndex;
using testing::LayerRun;

constexpr MicroBatch kMicro{.seed = 42, .step = 9, .index = 3, .first_sample = 24};

TEST(DropoutLayer, Plans) {
  for (const TensorSpec& input : {channels_last(2, 3, 4, 5), row_major({8, 9216})}) {
    const LayerPlan plan = testing::plan_of(dropout_layer(0.5f), input, 2);
    EXPECT_EQ(plan.inputs[0], input);
    EXPECT_EQ(plan.outputs[0], input);
    EXPECT_TRUE(plan.parameters.empty());
    EXPECT_TRUE(plan.saved.empty());  // the mask is computed again
    EXPECT_EQ(plan.workspace_bytes, 0);
    EXPECT_TRUE(plan.in_place);
    EXPECT_FALSE(plan.inputs_needed_by_weight);
    EXPECT_FALSE(plan.outputs_needed_by_input);
  }
}

// Element e of sample n is the e-th in the memory of its row, also for images.
TEST(DropoutLayer, DropsByTheMicroBatchAndLayer) {
  for (const TensorSpec& input : {row_major({3, 200}), channels_last(3, 5, 8, 5)}) {
    LayerRun run(dropout_layer(0.4f), input);
    run.run(kMicro);
    for (std::int64_t n = 0; n < 3; ++n) {
      const RandomStream stream{42, RandomUse::kDropout, kLayerIndex, 9,
                                static_cast<std::uint32_t>(24 + n)};
      for (std::int64_t e = 0; e < 200; ++e) {
        const float scale =
            uniform01(stream.word(static_cast<std::uint64_t>(e))) < 0.4f ? 0.0f : 1.0f / 0.6f;
        const std::int64_t i = n * 200 + e;
        ASSERT_FLOAT_EQ(run.y.tensor.as<float>()[i], run.x.tensor.as<float>()[i] * scale) << i;
        ASSERT_FLOAT_EQ(run.dx.tensor.as<float>()[i], run.g.tensor.as<float>()[i] * scale) << i;
      }
    }
  }
}

TEST(DropoutLayer, DependsOnSeedStepAndSampleOnly) {
  const auto mask = [](const MicroBatch& micro) {
    LayerRun run(dropout_layer(0.5f), row_major({2, 100}));
    run.run(micro);
    return bytes_of(run.y.tensor);
  };
  const auto with = [](const std::function<void(MicroBatch&)>& change) {
    MicroBatch micro = kMicro;
    change(micro);
    return micro;
  };
  const std::vector<std::uint8_t> base = mask(kMicro);
  EXPECT_NE(mask(with([](MicroBatch& m) { m.seed += 1; })), base);
  EXPECT_NE(mask(with([](MicroBatch& m) { m.step += 1; })), base);
  EXPECT_NE(mask(with([](MicroBatch& m) { m.first_sample += 1; })), base);
  // How a batch is cut into micro-batches does not matter.
  EXPECT_EQ(mask(with([](MicroBatch& m) { m.index += 1; })), base);
}

TEST(DropoutLayer, IsTheIdentityWhenNotTrainingOrWithoutP) {
  for (const bool in_place : {false, true}) {
    for (const float p : {0.0f, 0.5f}) {
      MicroBatch micro = kMicro;
      micro.training = p == 0.0f;
      LayerRun run(dropout_layer(p), channels_last(2, 3, 4, 5), 2, in_place);
      run.run(micro);
      EXPECT_EQ(bytes_of(run.y.tensor), bytes_of(run.x.tensor));
      EXPECT_EQ(bytes_of(run.dx.tensor), bytes_of(run.g.tensor));
    }
  }
}

TEST(DropoutLayer, DescribesItselfAndRefusesWhatDoesNotFit) {
  EXPECT_EQ(dropout_layer(0.5f)->describe(), "Dropout(0.5)");
  expect_error([] { dropout_layer(1.0f); }, {"dropout_layer", "[0, 1)", "p = 1"});
  expect_error([] { dropout_layer(-0.1f); }, {"dropout_layer", "[0, 1)", "-0.1"});
  expect_error([] { dropout_layer(NAN); }, {"dropout_layer", "[0, 1)", "nan"});
  const auto layer = dropout_layer(0.5f);
  const auto plan = [&](const TensorSpec& input) {
    return [=] { testing::plan_of(layer, input, 1); };
  };
  expect_error(plan(row_major({3}, DType::kU8)), {"Dropout: expected input F32 or BF16", "U8 [3]"});
  expect_error(plan(row_major({})), {"Dropout", "rank >= 1"});
  expect_error(plan(row_major({0, 3})), {"Dropout", "not empty", "[0, 3]"});
}

// The operation below sees neither tensor as it is, and the identity is none at all.
TEST(DropoutLayer, RefusesTensorsThatDiffer) {
  Context context;
  const OwnedTensor x(row_major({2, 6})), y(row_major({3, 4}));
  for (const bool training : {false, true}) {
    expect_error(
        [&] {
          const auto layer = dropout_layer(0.5f);
          LayerCall call;
          call.inputs = std::span(&x.tensor, 1);
          call.outputs = std::span(&y.tensor, 1);
          call.micro.training = training;
          layer->forward(context, testing::plan_of(layer, x.tensor.spec, 1), call);
        },
        {"Dropout(0.5)", "outputs[0] F32 [2, 6]", "[3, 4]"});
  }
}

}  // namespace
}  // namespace stagecoach
