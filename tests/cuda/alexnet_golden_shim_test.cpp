// AlexNet's loss and gradients on a GPU, in each precision, against PyTorch's in double; the table
// of errors is printed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/copy.h"
#include "kernels/uniform.h"
#include "pipeline/stage.h"
#include "tests/cuda/both.h"
#include "tests/trainer/alexnet_golden.h"

namespace stagecoach {
namespace {

using testing::golden;
using testing::kClasses;
using testing::kImages;
using testing::kSeed;
using testing::kSide;
using testing::relative_error;

struct Errors {
  double loss = 0;
  std::vector<std::pair<std::string, double>> gradients;  // relative L2, by parameter
  std::vector<double> lengths;                            // of their norms, relative
};

OwnedTensor golden_images(Context& context, DType dtype) {
  const TensorSpec image = channels_last(1, 3, kSide, kSide, dtype);
  OwnedTensor images(channels_last(kImages, 3, kSide, kSide, dtype), context.device());
  for (std::int64_t n = 0; n < kImages; ++n) {
    fill_uniform(
        context, images.buffer.view(image, n * image.bytes()), 2.0f,
        {.seed = kSeed, .use = RandomUse::kSyntheticData, .sample = static_cast<std::uint32_t>(n)});
  }
  return images;
}

// One micro-batch through the whole network as one stage.
Errors errors_of(const Target& target) {
  const DType dtype = target.precision == Precision::kBf16 ? DType::kBF16 : DType::kF32;
  const Network network = make_alexnet(kClasses, 0.0f);
  const auto plans = network.plan(channels_last(kImages, 3, kSide, kSide, dtype), target);
  StageOptions options;
  options.end = network.size();
  options.memory.loss_rows = kImages;
  Context context(target);
  Stage stage(network, plans, options, context);
  stage.initialize(kSeed);
  const OwnedTensor images = golden_images(context, dtype);
  const SafetensorsFile file = testing::golden_file();
  const OwnedTensor host_labels = testing::golden_labels(file);
  const OwnedTensor labels(host_labels.tensor.spec, target.device);
  copy(context.stream(), labels.tensor, host_labels.tensor);
  const MicroBatch micro{.batch = kImages};
  stage.forward({&images.tensor, 1}, labels.tensor, micro);
  stage.backward_input({}, micro);
  stage.backward_weight(micro);

  Errors errors;
  const OwnedTensor losses = to_host(context.stream(), stage.losses());
  const float* loss = losses.tensor.as<float>();
  const double expected = golden(file, "loss")[0];
  errors.loss = std::abs((static_cast<double>(loss[0]) + loss[1]) / kImages - expected) / expected;
  for (const Stage::Parameter& parameter : stage.parameters()) {
    const OwnedTensor grad = to_host(context.stream(), parameter.grad);
    errors.gradients.emplace_back(
        parameter.name,
        relative_error(testing::samples(grad.tensor), golden(file, parameter.name + ".grad")));
    const double length = golden(file, parameter.name + ".grad_sum_and_norm")[1];
    errors.lengths.push_back(std::abs(testing::sum_and_norm(grad.tensor)[1] - length) / length);
  }
  return errors;
}

struct Bounds {
  double loss, gradient, length;
};

// Of one operation they are 1e-5, 1e-3 and 1e-2 (layers_shim_test.cpp). Through the whole network
// bf16 decides about one unit in a hundred of a ReLU the other way, and each of them is wholly in
// or out of the gradient: an error of a tenth, by the root of a hundredth, which its length hardly
// shows. In fp32 it is most likely none; if
// loss and length hold and a gradient is off by some 1e-3, one unit within rounding of 0 was.
Bounds bounds_of(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return {1e-5, 1e-5, 1e-5};
    case Precision::kTf32:
      return {1e-3, 0.1, 0.01};
    case Precision::kBf16:
      return {1e-2, 0.4, 0.05};
  }
  return {};
}

TEST(AlexNetGoldenShim, GradientsArePyTorchsInDouble) {
  std::vector<Errors> columns = {errors_of(Target(2))};
  constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kTf32, Precision::kBf16};
  for (const Precision precision : kPrecisions) {
    Target target(1, testing::kGpu);
    target.precision = precision;
    columns.push_back(errors_of(target));
  }
  fmt::print("relative L2 error     cpu fp32  gpu fp32  gpu tf32  gpu bf16\n{:<20}", "loss");
  for (const Errors& column : columns) fmt::print("  {:.2e}", column.loss);
  for (std::size_t i = 0; i < columns[0].gradients.size(); ++i) {
    fmt::print("\n{:<20}", columns[0].gradients[i].first);
    for (const Errors& column : columns) fmt::print("  {:.2e}", column.gradients[i].second);
  }
  fmt::print("\n");
  // See AlexNetGolden for what a tie is.
  for (std::size_t c = 1; c < columns.size(); ++c) {
    const bool tie = columns[c].gradients[0].second > 1e-5;
    Bounds bounds = bounds_of(kPrecisions[c - 1]);
    if (tie) bounds.gradient = std::max(bounds.gradient, 1e-2);
    if (tie) bounds.length = std::max(bounds.length, 1e-2);
    EXPECT_LE(columns[c].loss, bounds.loss);
    for (std::size_t i = 0; i < columns[c].gradients.size(); ++i) {
      const auto& [name, error] = columns[c].gradients[i];
      EXPECT_LE(error, bounds.gradient) << name << " in " << name_of(kPrecisions[c - 1]);
      EXPECT_LE(columns[c].lengths[i], bounds.length) << name;
    }
  }
}

}  // namespace
}  // namespace stagecoach
