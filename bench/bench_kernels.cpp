// Speed of the kernels at AlexNet's shapes, and of convolutions at VGG's. "share" is the part of
// what this machine's multiply-add units do at most, measured at the start.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "bench/kernel_timing.h"
#include "kernels/adaptive_avg_pool2d.h"
#include "kernels/conv2d.h"
#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/dropout.h"
#include "kernels/image_transform.h"
#include "kernels/linear.h"
#include "kernels/max_pool2d.h"
#include "kernels/optimizers.h"
#include "kernels/permute.h"
#include "kernels/relu.h"
#include "kernels/softmax_cross_entropy.h"

namespace stagecoach {
namespace {

using benchmark::State;

struct Conv2dCase {
  const char* name;
  std::int64_t channels, size, outputs, kernel;
  Conv2dOptions options;
};
constexpr Conv2dCase kConv2d[] = {
    {"conv1", 3, 224, 64, 11, {4, 4, 2, 2}},  {"conv2", 64, 27, 192, 5, {1, 1, 2, 2}},
    {"conv3", 192, 13, 384, 3, {1, 1, 1, 1}}, {"conv4", 384, 13, 256, 3, {1, 1, 1, 1}},
    {"conv5", 256, 13, 256, 3, {1, 1, 1, 1}},
};
// Of each size of an image, the ones that differ.
constexpr Conv2dCase kVgg[] = {
    {"vgg1_1", 3, 224, 64, 3, {1, 1, 1, 1}},   {"vgg1_2", 64, 224, 64, 3, {1, 1, 1, 1}},
    {"vgg2_1", 64, 112, 128, 3, {1, 1, 1, 1}}, {"vgg2_2", 128, 112, 128, 3, {1, 1, 1, 1}},
    {"vgg3_1", 128, 56, 256, 3, {1, 1, 1, 1}}, {"vgg3_2", 256, 56, 256, 3, {1, 1, 1, 1}},
    {"vgg4_1", 256, 28, 512, 3, {1, 1, 1, 1}}, {"vgg4_2", 512, 28, 512, 3, {1, 1, 1, 1}},
    {"vgg5", 512, 14, 512, 3, {1, 1, 1, 1}},
};

void add_conv2d(const Conv2dCase& c, const Setting& setting) {
  const TensorSpec x = channels_last(setting.batch, c.channels, c.size, c.size);
  const TensorSpec w = channels_last(c.outputs, c.channels, c.kernel, c.kernel);
  const TensorSpec y = conv2d_output(x, w, c.options);
  const double flops = 2.0 * y.elements() * c.channels * c.kernel * c.kernel;
  const int threads = setting.threads;
  const Conv2dStep step = conv2d_step(x, w, c.options, Target(threads));
  const std::int64_t scratch = conv2d_workspace_bytes(x, w, c.options, threads);
  const std::string algorithms = cpu::describe_conv2d(
      cpu::conv2d_shape(x.shape, w.shape, y.shape, c.options), Convolution::kAuto);
  add(std::string(c.name) + "/F", setting, [=](State& state) {
    state.SetLabel(algorithms);
    const OwnedTensor in = ones(x), weight = ones(w), bias = ones(row_major({c.outputs}));
    const OwnedTensor out = ones(y), form = ones(step.forward);
    measure(state, threads, scratch, flops, 0.0, [&](Context& context) {
      conv2d_forward(context, out.tensor, in.tensor, weight.tensor, bias.tensor, c.options,
                     Activation::kNone, form.tensor);
    });
  });
  add(std::string(c.name) + "/B", setting, [=](State& state) {
    state.SetLabel(algorithms);
    const OwnedTensor in = ones(x), weight = ones(w), out = ones(y), form = ones(step.backward);
    measure(state, threads, scratch, flops, 0.0, [&](Context& context) {
      conv2d_backward_input(context, in.tensor, out.tensor, weight.tensor, c.options, form.tensor);
    });
  });
  add(std::string(c.name) + "/W", setting, [=](State& state) {
    state.SetLabel(algorithms);
    const OwnedTensor in = ones(x), weight = ones(w), bias = ones(row_major({c.outputs}));
    const OwnedTensor out = ones(y), sums = ones(step.sums);
    measure(state, threads, scratch, flops, 0.0, [&](Context& context) {
      conv2d_backward_weight(context, weight.tensor, bias.tensor, out.tensor, in.tensor, c.options,
                             GradientMode::kAccumulate,
                             step.sums.elements() > 0 ? sums.tensor : Tensor{});
    });
  });
}

struct LinearCase {
  const char* name;
  std::int64_t inputs, outputs;
};
constexpr LinearCase kLinear[] = {{"fc6", 9216, 4096}, {"fc7", 4096, 4096}, {"fc8", 4096, 10}};

void add_linear(const LinearCase& c, const Setting& setting) {
  const TensorSpec x = row_major({setting.batch, c.inputs});
  const TensorSpec w = row_major({c.outputs, c.inputs});
  const TensorSpec y = row_major({setting.batch, c.outputs});
  const double flops = 2.0 * setting.batch * w.elements();
  const double bytes = w.bytes();
  add(std::string(c.name) + "/F", setting, [=](State& state) {
    const OwnedTensor in = ones(x), weight = ones(w), bias = ones(row_major({c.outputs}));
    const OwnedTensor out = ones(y);
    const std::int64_t scratch = linear_workspace_bytes(x, w, Target(setting.threads));
    measure(state, setting.threads, scratch, flops, bytes, [&](Context& context) {
      linear_forward(context, out.tensor, in.tensor, weight.tensor, bias.tensor);
    });
  });
  add(std::string(c.name) + "/B", setting, [=](State& state) {
    const OwnedTensor in = ones(x), weight = ones(w), out = ones(y);
    measure(state, setting.threads, 0, flops, bytes, [&](Context& context) {
      linear_backward_input(context, in.tensor, out.tensor, weight.tensor);
    });
  });
  add(std::string(c.name) + "/W", setting, [=](State& state) {
    const OwnedTensor in = ones(x), weight = ones(w), bias = ones(row_major({c.outputs}));
    const OwnedTensor out = ones(y);
    measure(state, setting.threads, 0, flops, 2.0 * bytes, [&](Context& context) {
      linear_backward_weight(context, weight.tensor, bias.tensor, out.tensor, in.tensor,
                             GradientMode::kAccumulate);
    });
  });
}

// The operations that stream through memory. `flops` counts comparisons and multiplications of the
// definition, `bytes` what must be read and written at least.
void add_sweep(const std::string& name, const Setting& setting, double flops, double bytes,
               const std::function<void(Context&)>& operation) {
  add(name, setting,
      [=](State& state) { measure(state, setting.threads, 0, flops, bytes, operation); });
}

// Tensors of a sweep live until the program ends: the benchmark runs after it was registered.
Tensor kept(const TensorSpec& spec, float value = 1.0f) {
  static std::deque<OwnedTensor> tensors;
  tensors.emplace_back(spec);
  const Tensor& tensor = tensors.back().tensor;
  if (spec.dtype == DType::kF32) std::fill_n(tensor.as<float>(), spec.elements(), value);
  return tensor;
}

void add_relu_and_pools(const Setting& s) {
  const TensorSpec x = channels_last(s.batch, 64, 55, 55);
  const Tensor in = kept(x), out = kept(x);
  const auto n = static_cast<double>(x.elements());
  add_sweep("relu1/F", s, n, 8 * n, [=](Context& c) { relu_forward(c, out, out); });
  add_sweep("relu1/B", s, n, 12 * n, [=](Context& c) { relu_backward(c, in, in, out); });

  const MaxPool2dOptions pool{3, 3, 2, 2, 0, 0};
  const TensorSpec y = max_pool2d_output(x, pool);
  TensorSpec index = y;
  index.dtype = DType::kU8;
  const Tensor pooled = kept(y), places = kept(index);
  const auto m = static_cast<double>(y.elements());
  add_sweep("pool1/F", s, 8 * m, 4 * n + 5 * m,
            [=](Context& c) { max_pool2d_forward(c, pooled, places, in, pool); });
  add_sweep("pool1/B", s, m, 4 * n + 5 * m,
            [=](Context& c) { max_pool2d_backward(c, in, pooled, places, pool); });

  const TensorSpec last = channels_last(s.batch, 256, 6, 6);
  const Tensor before = kept(last), after = kept(last);
  const auto k = static_cast<double>(last.elements());
  add_sweep("avgpool/F", s, k, 8 * k,
            [=](Context& c) { adaptive_avg_pool2d_forward(c, after, before); });
  add_sweep("avgpool/B", s, k, 8 * k,
            [=](Context& c) { adaptive_avg_pool2d_backward(c, before, after); });
  const Tensor flat = kept(row_major({s.batch, 256, 6, 6}));
  add_sweep("flatten/F", s, 0, 8 * k, [=](Context& c) { permute_format(c, flat, before); });
  add_sweep("flatten/B", s, 0, 8 * k, [=](Context& c) { permute_format(c, before, flat); });
}

void add_dropout_and_loss(const Setting& s) {
  const TensorSpec x = row_major({s.batch, 9216});
  const Tensor in = kept(x);
  const auto n = static_cast<double>(x.elements());
  // In place it would become infinite.
  const Tensor out = kept(x);
  add_sweep("dropout/F", s, n, 8 * n, [=](Context& c) { dropout_forward(c, out, in, {}); });
  add_sweep("dropout/B", s, n, 8 * n, [=](Context& c) { dropout_backward(c, out, in, {}); });
  const Tensor logits = kept(row_major({s.batch, 10})), grad = kept(row_major({s.batch, 10}));
  const Tensor losses = kept(row_major({s.batch}));
  const Tensor correct = kept({DType::kI32, {s.batch}}), labels = kept({DType::kI32, {s.batch}});
  const auto k = static_cast<double>(logits.elements());
  add_sweep("loss/F", s, 5 * k, 8 * k, [=](Context& c) {
    softmax_cross_entropy(c, losses, correct, grad, logits, labels, 1.0f);
  });
}

void add_images(const Setting& s) {
  const Tensor images = kept({DType::kU8, {s.batch, 3, 32, 32}});
  const Tensor out = kept(channels_last(s.batch, 3, 224, 224));
  const ImageTransform transform;
  const std::vector<ImageCrop> crops(static_cast<std::size_t>(s.batch), center_crop(transform));
  add_sweep("images", s, 0, out.bytes(),
            [=](Context& c) { transform_images(c, out, images, crops, transform); });
}

// All parameters of AlexNet.
void add_optimizers(const Setting& s) {
  const TensorSpec all = row_major({57'044'810});
  const auto n = static_cast<double>(all.elements());
  const Tensor p = kept(all), grad = kept(all, 1e-3f), m = kept(all, 0), v = kept(all, 0);
  add_sweep("sgd", s, 6 * n, 20 * n, [=](Context& c) { sgd_step(c, p, m, grad, {}); });
  add_sweep("adam", s, 14 * n, 28 * n, [=](Context& c) { adam_step(c, p, m, v, grad, {}); });
}

}  // namespace
}  // namespace stagecoach

int main(int argc, char** argv) {
  using namespace stagecoach;
  for (const Setting& setting : kSettings) {
    for (const Conv2dCase& c : kConv2d) add_conv2d(c, setting);
    for (const Conv2dCase& c : kVgg) {
      if (setting.batch == 8) add_conv2d(c, setting);
    }
    for (const LinearCase& c : kLinear) add_linear(c, setting);
    add_relu_and_pools(setting);
    add_dropout_and_loss(setting);
    add_images(setting);
    if (setting.batch == 32) add_optimizers(setting);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("instruction set", cpu::instruction_set());
  benchmark::AddCustomContext("peak GFLOP/s of one core", std::to_string(cpu::peak_flops() * 1e-9));
  benchmark::RunSpecifiedBenchmarks();
}
