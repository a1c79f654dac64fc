#include "layers/loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::expect_error;
using testing::random_tensor;

// Runs F and B of a loss.
struct LossRun {
  LossRun(const std::shared_ptr<const Loss>& loss, const Tensor& prediction, const Tensor& targets,
          std::int64_t batch, bool training = true)
      : plan(loss->plan(std::vector<TensorSpec>{prediction.spec, targets.spec}, 1)),
        grad(prediction.spec) {
    std::vector<Tensor> output_views, saved_views;
    for (const TensorSpec& spec : plan.outputs) outputs.emplace_back(spec);
    for (const OwnedTensor& one : outputs) output_views.push_back(one.tensor);
    for (const TensorSpec& spec : plan.saved) saved.emplace_back(spec);
    for (const OwnedTensor& one : saved) saved_views.push_back(one.tensor);
    const std::vector<Tensor> inputs = {prediction, targets}, grads = {grad.tensor, {}};
    testing::run_on_context(2, plan.workspace_bytes, [&](Context& context) {
      LayerCall call;
      call.inputs = inputs;
      call.outputs = output_views;
      call.saved = saved_views;
      call.micro.batch = batch;
      call.micro.training = training;
      loss->forward(context, plan, call);
      call.input_grads = grads;
      loss->backward_input(context, plan, call);
      context.stream().synchronize();
    });
  }
  const LayerPlan plan;
  std::vector<OwnedTensor> outputs, saved;
  OwnedTensor grad;
};

TEST(SoftmaxCrossEntropyLoss, SaysAndChecksItsSmoothing) {
  EXPECT_EQ(softmax_cross_entropy_loss()->describe(), "SoftmaxCrossEntropy()");
  EXPECT_EQ(softmax_cross_entropy_loss(0.1f)->describe(),
            "SoftmaxCrossEntropy(label_smoothing 0.1)");
  for (const float bad : {-0.1f, 1.0f, std::nanf("")}) {
    expect_error([&] { softmax_cross_entropy_loss(bad); }, {"label_smoothing of at least 0"});
  }
}

TEST(SoftmaxCrossEntropyLoss, SmoothsInTrainingOnly) {
  const OwnedTensor logits = random_tensor(row_major({2, 4}), 1);
  const OwnedTensor labels(row_major({2}, DType::kI32));
  const auto loss = [&](float smoothing, bool training) {
    const LossRun run(softmax_cross_entropy_loss(smoothing), logits.tensor, labels.tensor, 2,
                      training);
    return run.outputs[0].tensor.as<float>()[0];
  };
  EXPECT_NE(loss(0.1f, true), loss(0, true));
  EXPECT_EQ(loss(0.1f, false), loss(0, true));
}

TEST(SoftmaxCrossEntropyLoss, GivesLossesAnswersAndGradient) {
  const OwnedTensor logits = random_tensor(row_major({3, 4}), 1);
  const OwnedTensor labels(row_major({3}, DType::kI32));
  for (int i = 0; i < 3; ++i) labels.tensor.as<std::int32_t>()[i] = i;
  const LossRun run(softmax_cross_entropy_loss(), logits.tensor, labels.tensor, 6);
  for (int n = 0; n < 3; ++n) {
    double sum = 0;
    for (int c = 0; c < 4; ++c) sum += std::exp(double(testing::at(logits.tensor, n, c)));
    EXPECT_NEAR(run.outputs[0].tensor.as<float>()[n],
                std::log(sum) - testing::at(logits.tensor, n, n), 1e-6);
    for (int c = 0; c < 4; ++c) {
      const double share = std::exp(double(testing::at(logits.tensor, n, c))) / sum;
      EXPECT_NEAR(testing::at(run.grad.tensor, n, c), (share - (c == n ? 1 : 0)) / 6, 1e-6);
    }
  }
  EXPECT_EQ(run.outputs[1].tensor.spec, row_major({3}, DType::kI32));
}

TEST(MeanSquaredErrorLoss, GivesLossesAndGradient) {
  const OwnedTensor prediction = random_tensor(row_major({3, 5}), 1);
  const OwnedTensor targets = random_tensor(row_major({3, 5}), 2);
  const LossRun run(mean_squared_error_loss(), prediction.tensor, targets.tensor, 12);
  ASSERT_EQ(run.outputs.size(), 1u);
  for (int n = 0; n < 3; ++n) {
    double sum = 0;
    for (int c = 0; c < 5; ++c) {
      const double difference =
          double(testing::at(prediction.tensor, n, c)) - testing::at(targets.tensor, n, c);
      sum += difference * difference;
      EXPECT_NEAR(testing::at(run.grad.tensor, n, c), 2 * difference / 5 / 12, 1e-7);
    }
    EXPECT_NEAR(run.outputs[0].tensor.as<float>()[n], sum / 5, 1e-6);
  }
}

TEST(Loss, SaysWhatItsTargetsAre) {
  EXPECT_EQ(softmax_cross_entropy_loss()->target_spec(row_major({8, 10})),
            row_major({8}, DType::kI32));
  EXPECT_EQ(mean_squared_error_loss()->target_spec(row_major({8, 10}, DType::kBF16)),
            row_major({8, 10}));
  expect_error([] { softmax_cross_entropy_loss()->target_spec(row_major({8})); },
               {"SoftmaxCrossEntropy()", "prediction F32 or BF16 [N, C]", "F32 [8]"});
  expect_error(
      [] {
        mean_squared_error_loss()->target_spec(row_major({0, 3}));
      },
      {"MeanSquaredError()", "not empty", "[0, 3]"});
}

TEST(Loss, TakesAPredictionAndItsTargets) {
  const auto plan = [](const std::shared_ptr<const Loss>& loss, std::vector<TensorSpec> inputs) {
    return [=] { loss->plan(inputs, 1); };
  };
  expect_error(plan(softmax_cross_entropy_loss(), {}), {"SoftmaxCrossEntropy()", "2 inputs", "0"});
  expect_error(plan(mean_squared_error_loss(), {row_major({4, 3})}),
               {"MeanSquaredError()", "2 inputs", "got 1"});
  expect_error(plan(softmax_cross_entropy_loss(), {row_major({4, 3}), row_major({4})}),
               {"SoftmaxCrossEntropy()", "targets I32 [4]", "got F32 [4]"});
  expect_error(plan(mean_squared_error_loss(), {row_major({4, 3}), row_major({4, 2})}),
               {"MeanSquaredError()", "targets F32 [4, 3]", "[4, 2]"});
}

// Of one's own, and half done.
struct WithoutBackward : Loss {
  std::string describe() const override { return "WithoutBackward()"; }
  TensorSpec target_spec(const TensorSpec& prediction) const override { return prediction; }
  LayerPlan plan(std::span<const TensorSpec> in, const Target&) const override {
    return {.inputs = {in[0], in[1]},
            .outputs = {row_major({in[0].shape[0]})},
            .differentiable = {true, false}};
  }
  void forward_impl(Context&, const LayerPlan&, const LayerCall&) const override {}
};

TEST(Loss, NeedsABackwardPass) {
  const WithoutBackward loss;
  const TensorSpec spec = row_major({2, 1});
  const OwnedTensor gradient(spec);
  const std::vector<Tensor> gradients = {gradient.tensor, {}};
  LayerCall call;
  call.input_grads = gradients;
  Context context(1);
  expect_error(
      [&] {
        loss.backward_input(context, loss.plan(std::vector{spec, spec}, 1), call);
      },
      {"WithoutBackward()", "saved_is_input_grad", "neither"});
}

}  // namespace
}  // namespace stagecoach
