// Speed of a GPU's operations at AlexNet's shapes: own kernels by the bytes that they must move,
// convolutions and linear layers by their floating-point operations. Ends with 3 without a GPU.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <iostream>
#include <vector>

#include "bench/cuda_timing.h"
#include "bench/cudnn_pool.h"
#include "core/device_backend.h"
#include "kernels/adaptive_avg_pool2d.h"
#include "kernels/cast.h"
#include "kernels/conv2d.h"
#include "kernels/cuda/operations.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "kernels/max_pool2d.h"
#include "kernels/optimizers.h"
#include "kernels/permute.h"
#include "kernels/relu.h"
#include "kernels/resident_images.h"
#include "kernels/softmax_cross_entropy.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kBatch = 128;
constexpr std::int64_t kParameters = 57'044'810;  // of AlexNet with 10 classes

DType dtype_of(Precision precision) {
  return precision == Precision::kBf16 ? DType::kBF16 : DType::kF32;
}

double bytes_of(std::initializer_list<TensorSpec> specs) {
  double sum = 0;
  for (const TensorSpec& spec : specs) sum += static_cast<double>(spec.bytes());
  return sum;
}

struct Convolution {
  const char* name;
  std::int64_t channels, side, outputs, kernel, stride, padding;
};
// Of AlexNet at 224 x 224.
constexpr Convolution kConvolutions[] = {
    {"conv1", 3, 224, 64, 11, 4, 2},  {"conv2", 64, 27, 192, 5, 1, 2},
    {"conv3", 192, 13, 384, 3, 1, 1}, {"conv4", 384, 13, 256, 3, 1, 1},
    {"conv5", 256, 13, 256, 3, 1, 1},
};

void add_conv2d(const Convolution& c, Precision precision) {
  const DType dtype = dtype_of(precision);
  const Target target = gpu_target(precision);
  const Conv2dOptions options{c.stride, c.stride, c.padding, c.padding};
  const TensorSpec w = channels_last(c.outputs, c.channels, c.kernel, c.kernel, dtype);
  const TensorSpec x = channels_last(kBatch, c.channels, c.side, c.side, dtype);
  const TensorSpec y = conv2d_output(x, w, options);
  const TensorSpec w_grad = channels_last(c.outputs, c.channels, c.kernel, c.kernel);
  const TensorSpec bias = row_major({c.outputs}, dtype), bias_grad = row_major({c.outputs});
  const Work work{.flops = 2.0 * static_cast<double>(y.elements() * c.channels) *
                           static_cast<double>(c.kernel * c.kernel)};
  const std::string name = c.name;
  const auto with_workspace = [=](GpuTensors& t) -> Context& {
    t.add_workspace(conv2d_workspace_bytes(x, w, options, target));
    return t.context();
  };
  add(name + "/F", precision, kBatch, work, [=](GpuTensors& t) {
    return [=, &context = with_workspace(t), to = t.make(y), in = t.make(x), weight = t.make(w),
            b = t.make(bias)] {
      conv2d_forward(context, to, in, weight, b, options, Activation::kRelu);
    };
  });
  if (name != "conv1") {  // the images need no gradient
    add(name + "/B", precision, kBatch, work, [=](GpuTensors& t) {
      return [=, &context = with_workspace(t), to = t.make(x), from = t.make(y),
              weight = t.make(w)] { conv2d_backward_input(context, to, from, weight, options); };
    });
  }
  add(name + "/W", precision, kBatch, work, [=](GpuTensors& t) {
    return [=, &context = with_workspace(t), weight = t.make(w_grad), b = t.make(bias_grad),
            from = t.make(y), in = t.make(x)] {
      conv2d_backward_weight(context, weight, b, from, in, options, GradientMode::kOverwrite);
    };
  });
}

struct LinearCase {
  const char* name;
  std::int64_t inputs, outputs;
};
constexpr LinearCase kLinear[] = {{"fc6", 9216, 4096}, {"fc7", 4096, 4096}, {"fc8", 4096, 10}};

void add_linear(const LinearCase& c, Precision precision) {
  const DType dtype = dtype_of(precision);
  const TensorSpec x = row_major({kBatch, c.inputs}, dtype);
  const TensorSpec w = row_major({c.outputs, c.inputs}, dtype);
  const TensorSpec y = row_major({kBatch, c.outputs}, dtype);
  const TensorSpec w_grad = row_major({c.outputs, c.inputs});
  const TensorSpec bias = row_major({c.outputs}, dtype), bias_grad = row_major({c.outputs});
  const double flops = 2.0 * kBatch * static_cast<double>(w.elements());
  const std::string name = c.name;
  const auto with_workspace = [=](GpuTensors& t) -> Context& {
    t.add_workspace(linear_workspace_bytes(x, w, gpu_target(precision)));
    return t.context();
  };
  add(name + "/F", precision, kBatch, {flops, bytes_of({x, w, y})}, [=](GpuTensors& t) {
    return [&context = with_workspace(t), to = t.make(y), in = t.make(x), weight = t.make(w),
            b = t.make(bias)] { linear_forward(context, to, in, weight, b, Activation::kRelu); };
  });
  add(name + "/B", precision, kBatch, {flops, bytes_of({x, w, y})}, [=](GpuTensors& t) {
    return [&context = with_workspace(t), to = t.make(x), from = t.make(y), weight = t.make(w)] {
      linear_backward_input(context, to, from, weight);
    };
  });
  add(name + "/W", precision, kBatch, {flops, bytes_of({x, w_grad, y})}, [=](GpuTensors& t) {
    return [&context = with_workspace(t), weight = t.make(w_grad), b = t.make(bias_grad),
            from = t.make(y), in = t.make(x)] {
      linear_backward_weight(context, weight, b, from, in, GradientMode::kOverwrite);
    };
  });
}

// relu1 follows the convolution in one kernel, and its B is the pool's: a plain pass over as many
// bytes, to compare with.
void add_relu_and_bias(Precision p) {
  const TensorSpec x3 = channels_last(kBatch, 384, 13, 13, dtype_of(p));
  add("relu3/B", p, kBatch, {.bytes = bytes_of({x3, x3, x3})}, [=](GpuTensors& t) {
    return [&c = t.context(), to = t.make(x3), y = t.make(x3)] { relu_backward(c, to, to, y); };
  });
  const TensorSpec x = channels_last(kBatch, 64, 55, 55, dtype_of(p));
  add("relu1/F", p, kBatch, {.bytes = bytes_of({x, x})}, [=](GpuTensors& t) {
    return [&c = t.context(), to = t.make(x), in = t.make(x)] { relu_forward(c, to, in); };
  });
  add("relu1/B", p, kBatch, {.bytes = bytes_of({x, x, x})}, [=](GpuTensors& t) {
    return [&c = t.context(), to = t.make(x), y = t.make(x)] { relu_backward(c, to, to, y); };
  });
  for (const auto& [channels, size] : {std::pair{64, 55}, std::pair{256, 13}}) {
    const TensorSpec y = channels_last(kBatch, channels, size, size, dtype_of(p));
    const TensorSpec bias = row_major({channels});
    const std::int64_t bytes = cuda::bias_grad_workspace_bytes(y.elements() / channels, channels);
    add("bias_grad" + std::to_string(channels), p, kBatch, {.bytes = bytes_of({y})},
        [=](GpuTensors& t) {
          return [&c = t.context(), to = t.make(bias), from = t.make(y),
                  workspace = t.make(row_major({bytes}, DType::kU8))] {
            cuda::bias_grad(c, to, from, GradientMode::kOverwrite, workspace.data);
          };
        });
  }
}

struct PoolCase {
  const char* name;
  std::int64_t channels, size;
};
constexpr PoolCase kPools[] = {{"pool1", 64, 55}, {"pool2", 192, 27}, {"pool5", 256, 13}};

void add_pool(const PoolCase& pool, Precision p) {
  const MaxPool2dOptions options{3, 3, 2, 2, 0, 0};
  const TensorSpec x = channels_last(kBatch, pool.channels, pool.size, pool.size, dtype_of(p));
  const TensorSpec y = max_pool2d_output(x, options);
  TensorSpec places = y;
  places.dtype = DType::kU8;
  const Work work{.bytes = bytes_of({x, y, places})};
  add(std::string(pool.name) + "/F", p, kBatch, work, [=](GpuTensors& t) {
    return [=, &c = t.context(), to = t.make(y), index = t.make(places), in = t.make(x)] {
      max_pool2d_forward(c, to, index, in, options, MaxPool2dInput::kOutputOfRelu);
    };
  });
  add(std::string(pool.name) + "/B", p, kBatch, work, [=](GpuTensors& t) {
    const Tensor from = t.make(y), index = t.make(places), to = t.make(x);
    max_pool2d_forward(t.context(), from, index, to, options);
    return [=, &c = t.context()] { max_pool2d_backward(c, to, from, index, options); };
  });
}

// cuDNN's beside it, with the passes that it needs in training: its B reads x and y where ours
// reads the places, and leaves the gradient of the ReLU before the pool to a pass of its own.
void add_cudnn_pool(const PoolCase& pool, Precision p) {
  const MaxPool2dOptions options{3, 3, 2, 2, 0, 0};
  const TensorSpec x = channels_last(kBatch, pool.channels, pool.size, pool.size, dtype_of(p));
  const TensorSpec y = max_pool2d_output(x, options);
  const std::string name = std::string("cudnn_") + pool.name;
  const auto make_pool = [=](GpuTensors& t) {
    return std::make_shared<CudnnPool>(t.context(), x, y, options);
  };
  add(name + "/F", p, kBatch, {.bytes = bytes_of({x, y})}, [=](GpuTensors& t) {
    return [cudnn = make_pool(t), to = t.make(y), in = t.make(x)] { cudnn->forward(to, in); };
  });
  const auto add_backward = [&](const std::string& backward, const Work& work, bool with_relu) {
    add(backward, p, kBatch, work, [=](GpuTensors& t) {
      const auto cudnn = make_pool(t);
      const Tensor in = t.make(x), out = t.make(y), from = t.make(y), to = t.make(x);
      cudnn->forward(out, in);
      return [=, &c = t.context()] {
        cudnn->backward(to, from, out, in);
        if (with_relu) relu_backward(c, to, to, in);
      };
    });
  };
  add_backward(name + "/B", {.bytes = bytes_of({x, x, y, y})}, false);
  add_backward(name + "+relu/B", {.bytes = bytes_of({x, x, x, x, x, y, y})}, true);
}

void add_flatten_and_dropout(Precision p) {
  const DType dtype = dtype_of(p);
  const TensorSpec x = channels_last(kBatch, 256, 6, 6, dtype);
  const TensorSpec flat = row_major({kBatch, 256, 6, 6}, dtype);
  const TensorSpec rows = row_major({kBatch, 9216}, dtype);
  const Work twice{.bytes = bytes_of({x, x})};
  add("avgpool/F", p, kBatch, twice, [=](GpuTensors& t) {
    return [&c = t.context(), to = t.make(x), in = t.make(x)] {
      adaptive_avg_pool2d_forward(c, to, in);
    };
  });
  add("avgpool/B", p, kBatch, twice, [=](GpuTensors& t) {
    return [&c = t.context(), to = t.make(x), from = t.make(x)] {
      adaptive_avg_pool2d_backward(c, to, from);
    };
  });
  add("flatten/F", p, kBatch, twice, [=](GpuTensors& t) {
    return [&c = t.context(), to = t.make(flat), in = t.make(x)] { permute_format(c, to, in); };
  });
  add("flatten/B", p, kBatch, twice, [=](GpuTensors& t) {
    return [&c = t.context(), to = t.make(x), from = t.make(flat)] { permute_format(c, to, from); };
  });
  add("dropout", p, kBatch, twice, [=](GpuTensors& t) {
    return [&c = t.context(), to = t.make(rows), in = t.make(rows)] {
      dropout_forward(c, to, in, {});
    };
  });
}

void add_loss(Precision p) {
  const TensorSpec logits = row_major({kBatch, 10}, dtype_of(p));
  const TensorSpec losses = row_major({kBatch}), labels = row_major({kBatch}, DType::kI32);
  add("loss", p, kBatch, {.bytes = bytes_of({logits, logits})}, [=](GpuTensors& t) {
    return [&c = t.context(), loss = t.make(losses), correct = t.make(labels),
            grad = t.make(logits), in = t.make(logits), label = t.make(labels)] {
      softmax_cross_entropy(c, loss, correct, grad, in, label, 1.0f);
    };
  });
}

void add_images(Precision p) {
  constexpr std::int64_t kImages = 4096;
  const TensorSpec labels = row_major({kBatch}, DType::kI32);
  const TensorSpec x = channels_last(kBatch, 3, 224, 224, dtype_of(p));
  add("images", p, kBatch, {.bytes = bytes_of({x})}, [=](GpuTensors& t) {
    const std::vector<std::uint8_t> pixels(kImages * 3 * 32 * 32, 99), of_images(kImages);
    // All samples are the first image, which stays in the L1 cache: in training, where each is
    // another one, reading them costs more.
    return [=, &c = t.context(), to = t.make(x), label = t.make(labels),
            samples = t.make(row_major({kBatch, 4}, DType::kI32)),
            images = std::make_shared<ResidentImages>(t.context(), kImages, 32, pixels.data(),
                                                      of_images.data(), ImageTransform{})] {
      transform_samples(c, to, label, *images, samples);
    };
  });
  const TensorSpec blocks = channels_last(kBatch, 48, 57, 57, dtype_of(p));
  add("space_to_depth", p, kBatch, {.bytes = bytes_of({x, blocks})}, [=](GpuTensors& t) {
    return [&c = t.context(), to = t.make(blocks), in = t.make(x)] {
      cuda::space_to_depth(c, to, in, {4, 2});
    };
  });
}

// The optimizers with the copy in bf16 where the precision needs one.
void add_parameters(Precision p) {
  const TensorSpec all = row_major({kParameters});
  const TensorSpec narrow = row_major({kParameters}, DType::kBF16);
  const bool has_copy = p == Precision::kBf16;
  const double copy_bytes = has_copy ? bytes_of({narrow}) : 0;
  const auto copy_of = [=](GpuTensors& t) { return has_copy ? t.make(narrow) : Tensor{}; };
  add("sgd", p, kBatch, {.bytes = bytes_of({all, all, all, all, all}) + copy_bytes},
      [=](GpuTensors& t) {
        return [&c = t.context(), w = t.make(all), v = t.make(all), g = t.make(all),
                copy = copy_of(t)] { sgd_step(c, w, v, g, {}, copy); };
      });
  add("adam", p, kBatch, {.bytes = 7 * bytes_of({all}) + copy_bytes}, [=](GpuTensors& t) {
    return [&c = t.context(), w = t.make(all), m = t.make(all), v = t.make(all), g = t.make(all),
            copy = copy_of(t)] { adam_step(c, w, m, v, g, {}, copy); };
  });
  if (!has_copy) {
    add("accumulate", p, kBatch, {.bytes = bytes_of({all, all, all})}, [=](GpuTensors& t) {
      return [&c = t.context(), sum = t.make(all), addend = t.make(all)] {
        cuda::accumulate(c, sum, addend);
      };
    });
  } else {
    add("cast", p, kBatch, {.bytes = bytes_of({all, narrow})}, [=](GpuTensors& t) {
      return [&c = t.context(), to = t.make(narrow), from = t.make(all)] { cast(c, to, from); };
    });
  }
}

void add_all() {
  for (const Precision precision : {Precision::kBf16, Precision::kFp32}) {
    add_relu_and_bias(precision);
    for (const PoolCase& c : kPools) {
      add_pool(c, precision);
      add_cudnn_pool(c, precision);
    }
    add_flatten_and_dropout(precision);
    add_loss(precision);
    add_images(precision);
    add_parameters(precision);
  }
  for (const Precision precision : {Precision::kBf16, Precision::kTf32, Precision::kFp32}) {
    for (const Convolution& c : kConvolutions) add_conv2d(c, precision);
    for (const LinearCase& c : kLinear) add_linear(c, precision);
  }
}

}  // namespace
}  // namespace stagecoach

int main(int argc, char** argv) {
  using namespace stagecoach;
  std::string why;
  if (device_backend(DeviceType::kCuda).device_count(&why) == 0) {
    std::cerr << "bench_cuda: no GPU: " << why << '\n';
    return 3;
  }
  add_all();
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("GPU", device_backend(kGpu).device_info(kGpu).name);
  benchmark::AddCustomContext("CUDA", device_backend(kGpu).runtime_versions());
  benchmark::RunSpecifiedBenchmarks();
}
