// Networks that get their images in the layout that their first layer wants, against the same
// networks that get them pixel by pixel.
#include <gtest/gtest.h>

#include "tests/cuda/engine_run.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::expect_error;
using testing::gpu_config;
using testing::train_steps;
using testing::Trained;

Target gpu_target(Precision precision) {
  Target target(1, {DeviceType::kCuda, 0});
  target.precision = precision;
  return target;
}

TEST(ImageLayoutShim, IsThatOfTheFirstLayer) {
  const Network alexnet = make_alexnet();
  const TensorSpec wide = channels_last(8, 3, 224, 224);
  const ImageLayout blocks{48, 57, 57, 4, 2};
  EXPECT_EQ(alexnet.image_layout(wide, 1), plain_layout(wide));
  EXPECT_EQ(alexnet.image_layout(wide, gpu_target(Precision::kFp32)), plain_layout(wide));
  EXPECT_EQ(alexnet.image_layout(wide, gpu_target(Precision::kTf32)), blocks);
  TensorSpec narrow = wide;
  narrow.dtype = DType::kBF16;
  EXPECT_EQ(alexnet.image_layout(narrow, gpu_target(Precision::kBf16)), blocks);
  const Network unstrided("unstrided", {{"first", conv2d_layer(3, 4, 3)}});
  EXPECT_EQ(unstrided.image_layout(narrow, gpu_target(Precision::kBf16)),
            (ImageLayout{8, 224, 224}));
  const Network relu("relu", {{"", relu_layer()}});
  EXPECT_EQ(relu.image_layout(narrow, gpu_target(Precision::kBf16)), plain_layout(narrow));
}

TEST(ImageLayoutShim, ChangesThePlanOfTheInputOnly) {
  const Network alexnet = make_alexnet();
  const Target target = gpu_target(Precision::kTf32);
  const TensorSpec images = channels_last(4, 3, 63, 63);
  const TensorSpec blocks = alexnet.image_layout(images, target).batch(4, DType::kF32);
  const auto expected = alexnet.plan(images, target), got = alexnet.plan(blocks, target);
  EXPECT_EQ(got[0].input, blocks);
  EXPECT_TRUE(got[0].input_in_blocks);
  EXPECT_FALSE(expected[0].input_in_blocks);
  EXPECT_LT(got[0].workspace_bytes, expected[0].workspace_bytes);
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].output, expected[i].output);
    ASSERT_EQ(got[i].parameters.size(), expected[i].parameters.size());
    for (std::size_t p = 0; p < got[i].parameters.size(); ++p) {
      EXPECT_EQ(got[i].parameters[p].spec, expected[i].parameters[p].spec);
    }
  }
}

TEST(ImageLayoutShim, NoOtherLayoutFits) {
  const Network alexnet = make_alexnet();
  const Target target = gpu_target(Precision::kTf32);
  expect_error([&] { alexnet.plan(channels_last(4, 16, 63, 63), target); },
               {"features.0", "input [N, 3, H, W], or 48 channels in blocks of 4 x 4",
                "F32 [4, 16, 63, 63]"});
  expect_error([&] { alexnet.plan(channels_last(4, 48, 17, 17), gpu_target(Precision::kFp32)); },
               {"features.0", "expected input [N, 3, H, W], got F32 [4, 48, 17, 17]"});
  // What lies in eight channels here need not be an image with channels of zeros.
  const Network two("two", {{"first", conv2d_layer(3, 8, 3)}, {"second", conv2d_layer(3, 4, 3)}});
  expect_error(
      [&] { two.plan(channels_last(1, 3, 9, 9, DType::kBF16), gpu_target(Precision::kBf16)); },
      {"second (Conv2d(3, 4", "blocks of images for the first layer only", "[1, 8, 7, 7]"});
}

// The first layer of a network, which gets its images pixel by pixel all the same.
class PixelByPixel final : public Layer {
 public:
  explicit PixelByPixel(std::shared_ptr<const Layer> layer) : layer_(std::move(layer)) {}
  std::string describe() const override { return layer_->describe(); }
  LayerPlan plan(const TensorSpec& input, const Target& target) const override {
    return layer_->plan(input, target);
  }
  bool fuses_relu_after(const Target& target) const override {
    return layer_->fuses_relu_after(target);
  }
  void forward(Context& context, const ForwardTensors& tensors, const MicroBatch& micro,
               std::uint32_t index) const override {
    layer_->forward(context, tensors, micro, index);
  }
  void backward_input(Context& context, const BackwardInputTensors& tensors,
                      const MicroBatch& micro, std::uint32_t index) const override {
    layer_->backward_input(context, tensors, micro, index);
  }
  void backward_weight(Context& context, const BackwardWeightTensors& tensors) const override {
    layer_->backward_weight(context, tensors);
  }

 private:
  std::shared_ptr<const Layer> layer_;
};

Network pixel_by_pixel(const Network& network) {
  std::vector<NamedLayer> layers;
  for (int i = 0; i < network.size(); ++i) layers.push_back(network[i]);
  layers[0].layer = std::make_shared<PixelByPixel>(layers[0].layer);
  return {network.name(), layers};
}

// small_network() with a stride, for blocks in TF32, too.
Network strided_network() {
  std::vector<NamedLayer> layers;
  const Network small = testing::small_network(0.5f);
  for (int i = 0; i < small.size(); ++i) layers.push_back(small[i]);
  layers[0].layer = conv2d_layer(3, 8, 5, {2, 2, 2, 2});
  return {"strided", layers};
}

Trained train(const Network& network, const TrainConfig& config, int steps) {
  testing::EngineRun run(network, config);
  return train_steps(run, config, steps);
}

TEST(ImageLayoutShim, TrainsWithTheSameBits) {
  const Network network = strided_network();
  for (const char* precision : {"fp32", "tf32", "bf16"}) {
    const Trained expected = train(pixel_by_pixel(network), gpu_config(0, precision), 5);
    EXPECT_EQ(train(network, gpu_config(0, precision), 5), expected) << precision;
    for (const char* schedule : {"1f1b", "zb-v"}) {
      TrainConfig config = gpu_config(2, precision);
      config.schedule = schedule;
      EXPECT_EQ(train(network, config, 5), expected) << precision << ", " << schedule;
    }
    TrainConfig config = gpu_config(2, precision);
    config.recompute = "always";
    config.partition = "time";
    EXPECT_EQ(train(network, config, 5), expected) << precision << ", with recomputation";
  }
}

TEST(ImageLayoutShim, TrainsAlexNetWithTheSameBits) {
  for (const char* precision : {"tf32", "bf16"}) {
    TrainConfig config = gpu_config(2, precision);
    config.image_size = 64;
    config.micro_batches = 2;
    const Trained expected = train(pixel_by_pixel(make_alexnet()), config, 1);
    EXPECT_EQ(train(make_alexnet(), config, 1), expected) << precision;
  }
}

TEST(ImageLayoutShim, TheEngineRefusesBatchesInAnotherLayout) {
  const TrainConfig config = gpu_config(0, "bf16");
  testing::EngineRun run(strided_network(), config);
  Batch batch(channels_last(config.batch(), 3, 16, 16, DType::kBF16), {DeviceType::kCuda, 0});
  batch.count = config.batch();
  expect_error([&] { run.engine.train_batch(batch); },
               {"images BF16 [8, 16, 10, 10]", "BF16 [8, 3, 16, 16]"});
  expect_error([&] { run.engine.eval_batch(batch); }, {"images BF16 [8, 16, 10, 10]"});
}

}  // namespace
}  // namespace stagecoach
