// AlexNet's forward, backward and three steps of Adam against PyTorch's in double, from the same
// weights and images (scripts/make_golden.py says what the file holds).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/optimizers.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/uniform.h"
#include "layers/network.h"
#include "tests/trainer/alexnet_golden.h"

namespace stagecoach {
namespace {

using testing::golden;
using testing::golden_file;
using testing::golden_labels;
using testing::kClasses;
using testing::kImages;
using testing::kSeed;
using testing::kSide;
using testing::minus;
using testing::norm;
using testing::relative_error;
using testing::samples;
using testing::sum_and_norm;

constexpr float kLearningRate = 1e-4f;

// The network, one micro-batch and the optimizer as a plain loop, each tensor with memory of its
// own.
class PlainAlexNet {
 public:
  PlainAlexNet()
      : network_(make_alexnet(kClasses, 0.0f)),
        plans_(network_.plan(channels_last(kImages, 3, kSide, kSide), kThreads)),
        parameters_(parameters_of(network_, plans_)),
        context_(kThreads) {
    std::int64_t workspace = 0;
    plans_.pop_back();  // the loss
    activations_.emplace_back(plans_[0].inputs[0]);
    activation_grads_.emplace_back(plans_[0].inputs[0]);
    for (const LayerPlan& plan : plans_) {
      workspace = std::max(workspace, plan.workspace_bytes);
      activations_.emplace_back(plan.outputs[0]);
      activation_grads_.emplace_back(plan.outputs[0]);
      saved_.emplace_back();
      for (const TensorSpec& spec : plan.saved) saved_.back().emplace_back(spec);
      prepared_.emplace_back();
      for (const TensorSpec& spec : plan.prepared) prepared_.back().emplace_back(spec);
      weight_state_.emplace_back();
      for (const TensorSpec& spec : plan.weight_state) weight_state_.back().emplace_back(spec);
    }
    workspace_ = std::make_unique<OwnedTensor>(row_major({workspace}, DType::kU8));
    context_.set_workspace(workspace_->tensor);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      for (auto* owned : {&values_, &grads_, &first_moments_, &second_moments_}) {
        owned->emplace_back(parameters_[i].spec.spec);
      }
      fill_uniform(context_, values_[i].tensor, parameters_[i].spec.init.a,
                   {kSeed, RandomUse::kInitialWeights, static_cast<std::uint32_t>(i)});
    }
    fill_images();
  }

  const std::vector<NamedParameter>& parameters() const { return parameters_; }
  const Tensor& value(std::size_t i) const { return values_[i].tensor; }
  const Tensor& grad(std::size_t i) const { return grads_[i].tensor; }
  const Tensor& logits() const { return activations_.back().tensor; }

  // Runs F and the loss, whose mean it returns.
  double forward(const Tensor& labels) {
    for (int i = 0; i < network_.size(); ++i) {
      call(i, [&](const Layer& layer, const LayerCall& call) {
        layer.prepare(context_, plans_[i], call);
        layer.forward(context_, plans_[i], call);
      });
    }
    const OwnedTensor losses(row_major({kImages})), correct(row_major({kImages}, DType::kI32));
    softmax_cross_entropy(context_, losses.tensor, correct.tensor, activation_grads_.back().tensor,
                          logits(), labels, 1.0f / kImages);
    context_.stream().synchronize();
    const float* loss = losses.tensor.as<float>();
    return (static_cast<double>(loss[0]) + loss[1]) / kImages;
  }

  void backward() {
    for (int i = network_.size() - 1; i >= 0; --i) {
      call(i, [&](const Layer& layer, const LayerCall& call) {
        layer.backward_weight(context_, plans_[i], call);
        layer.backward_input(context_, plans_[i], call);
      });
    }
    context_.stream().synchronize();
  }

  void adam(std::int64_t step) {
    begin_step(context_, {.adam = adam_rates(kLearningRate, {}, step)});
    for (std::size_t i = 0; i < values_.size(); ++i) {
      adam_step(context_, flat(values_[i]), flat(first_moments_[i]), flat(second_moments_[i]),
                flat(grads_[i]), {});
    }
    context_.stream().synchronize();
  }

 private:
  static constexpr int kThreads = 2;

  // What passes of a layer get; pass(layer, call).
  template <typename Pass>
  void call(int i, const Pass& pass) {
    const std::vector<Tensor> weights = of_layer(values_, i), grads = of_layer(grads_, i);
    const std::vector<Tensor> saved = views(saved_[i]), prepared = views(prepared_[i]),
                              weight_state = views(weight_state_[i]);
    LayerCall call;
    call.inputs = {&activations_[i].tensor, 1};
    call.outputs = {&activations_[i + 1].tensor, 1};
    call.input_grads = {&activation_grads_[i].tensor, 1};
    call.output_grads = {&activation_grads_[i + 1].tensor, 1};
    call.parameters = weights;
    call.parameter_grads = grads;
    call.saved = saved;
    call.prepared = prepared;
    call.weight_state = weight_state;
    call.layer = static_cast<std::uint32_t>(i);
    pass(network_.layer(i), call);
  }

  void fill_images() {
    const TensorSpec image = channels_last(1, 3, kSide, kSide);
    for (std::int64_t n = 0; n < kImages; ++n) {
      fill_uniform(context_, activations_[0].buffer.view(image, n * image.bytes()), 2.0f,
                   {.seed = kSeed,
                    .use = RandomUse::kSyntheticData,
                    .sample = static_cast<std::uint32_t>(n)});
    }
    context_.stream().synchronize();
  }

  static Tensor flat(const OwnedTensor& owned) {
    return owned.buffer.view(row_major({owned.tensor.elements()}));
  }

  std::vector<Tensor> of_layer(const std::vector<OwnedTensor>& all, int layer) const {
    std::vector<Tensor> result;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (parameters_[i].layer == layer) result.push_back(all[i].tensor);
    }
    return result;
  }

  static std::vector<Tensor> views(const std::vector<OwnedTensor>& all) {
    std::vector<Tensor> result;
    for (const OwnedTensor& owned : all) result.push_back(owned.tensor);
    return result;
  }

  Network network_;
  std::vector<LayerPlan> plans_;
  std::vector<NamedParameter> parameters_;
  std::vector<OwnedTensor> activations_, activation_grads_;                   // [0]: the images'
  std::vector<std::vector<OwnedTensor>> saved_, prepared_, weight_state_;     // by layer
  std::vector<OwnedTensor> values_, grads_, first_moments_, second_moments_;  // by parameter
  std::unique_ptr<OwnedTensor> workspace_;
  Context context_;  // last: its tasks use the members above
};

// Below the pools and ReLUs, another order of additions can decide one place that is near a tie the
// other way. Then the gradients of features.* differ in the third digit, and Adam's steps in the
// second (PyTorch in float32, with other labels: 0.03). Seen on a processor without AVX-512; the
// bounds for it hold only where the first of these gradients shows it.
constexpr double kRounding = 1e-5, kOneTie = 1e-2;

bool has_tie(const SafetensorsFile& file, const PlainAlexNet& alexnet) {
  const double error =
      relative_error(samples(alexnet.grad(0)), golden(file, "features.0.weight.grad"));
  if (error > kRounding) {
    fmt::print("a tie is decided otherwise than in double: features.0.weight is {:.1e} off\n",
               error);
  }
  return error > kRounding;
}

TEST(AlexNetGolden, ForwardAndBackwardArePyTorchs) {
  const SafetensorsFile file = golden_file();
  const OwnedTensor labels = golden_labels(file);
  PlainAlexNet alexnet;
  ASSERT_EQ(alexnet.parameters().size(), 16u);
  for (std::size_t i = 0; i < 16; ++i) {
    const std::string& name = alexnet.parameters()[i].name;
    EXPECT_EQ(samples(alexnet.value(i)), golden(file, name + ".initial")) << name;
  }
  const double loss = alexnet.forward(labels.tensor);
  alexnet.backward();
  EXPECT_NEAR(loss, golden(file, "loss")[0], 1e-5 * loss);
  EXPECT_LE(relative_error(samples(alexnet.logits()), golden(file, "logits")), 1e-5);
  const bool tie = has_tie(file, alexnet);
  // Seen: 1.3e-6 at most without a tie; PyTorch in float32 is as far from double.
  for (std::size_t i = 0; i < 16; ++i) {
    const std::string& name = alexnet.parameters()[i].name;
    const std::vector<double> expected = golden(file, name + ".grad");
    const double bound = tie && name.starts_with("features.") ? kOneTie : kRounding;
    EXPECT_LE(relative_error(samples(alexnet.grad(i)), expected), bound) << name;
    const std::vector<double> whole = sum_and_norm(alexnet.grad(i));
    const std::vector<double> expected_whole = golden(file, name + ".grad_sum_and_norm");
    const double sum = expected_whole[0], length = expected_whole[1];
    EXPECT_NEAR(whole[0], sum, 10 * bound * (std::abs(sum) + length)) << name;
    EXPECT_NEAR(whole[1], length, 10 * bound * length) << name;
  }
}

// How far the weights may be from PyTorch's, as a share of how far they moved.
//
// A step of Adam is about lr * g / |g|, whatever the size of g. Where g is near zero, rounding in g
// turns it or changes it by much, so no bound per element is both safe and tight; such elements are
// few, and their share of the movement is small: 1e-4 is seen, and 8e-5 for PyTorch in float32.
// After a tie (see above), 0.06 is seen in features.*, and the steps behind that move all others.
double tolerance_of(const std::string& name, bool tie) {
  if (name.starts_with("classifier.")) return tie ? 0.05 : 1e-3;
  return tie ? 0.2 : 0.05;
}

TEST(AlexNetGolden, ThreeStepsOfAdamArePyTorchs) {
  const SafetensorsFile file = golden_file();
  const OwnedTensor labels = golden_labels(file);
  const std::vector<double> losses_after = golden(file, "losses_after");
  PlainAlexNet alexnet;
  alexnet.forward(labels.tensor);
  ASSERT_EQ(losses_after.size(), 3u);
  bool tie = false;
  for (int step = 1; step <= 3; ++step) {
    alexnet.backward();
    if (step == 1) tie = has_tie(file, alexnet);
    alexnet.adam(step);
    const double expected = losses_after[step - 1];
    EXPECT_NEAR(alexnet.forward(labels.tensor), expected, 1e-4 * expected) << step;
  }
  for (std::size_t i = 0; i < alexnet.parameters().size(); ++i) {
    const std::string& name = alexnet.parameters()[i].name;
    const std::vector<double> weight = samples(alexnet.value(i));
    const std::vector<double> expected = golden(file, name + ".weight");
    const std::vector<double> movement = minus(expected, golden(file, name + ".initial"));
    const std::vector<double> error = minus(weight, expected);
    EXPECT_LE(norm(error) / norm(movement), tolerance_of(name, tie)) << name;
    // Three steps in the wrong direction, instead of three in the right one.
    for (const double e : error) EXPECT_LE(std::abs(e), 6 * kLearningRate) << name;
    const std::vector<double> whole = sum_and_norm(alexnet.value(i));
    const std::vector<double> expected_whole = golden(file, name + ".weight_sum_and_norm");
    // All elements a hundredth of a step off to one side would be more, for the large tensors.
    EXPECT_NEAR(whole[0], expected_whole[0], (tie ? 0.02 : 0.01) * expected_whole[1]) << name;
    EXPECT_NEAR(whole[1], expected_whole[1], 1e-4 * expected_whole[1]) << name;
  }
}

}  // namespace
}  // namespace stagecoach
