// Counts what each kernel executes, and which memory it touches, for two images of AlexNet's
// layers; writes them as JSON. kernel_table.py keeps the numbers.
#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "kernels/adaptive_avg_pool2d.h"
#include "kernels/add.h"
#include "kernels/batch_norm2d.h"
#include "kernels/cast.h"
#include "kernels/cuda/operations.h"
#include "kernels/dropout.h"
#include "kernels/finite.h"
#include "kernels/gradient_norm.h"
#include "kernels/max_pool2d.h"
#include "kernels/mean_squared_error.h"
#include "kernels/optimizers.h"
#include "kernels/permute.h"
#include "kernels/relu.h"
#include "kernels/resident_images.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/step.h"
#include "kernels/uniform.h"
#include "tests/cuda/both.h"
#include "tests/ptx/control.h"

namespace stagecoach {
namespace {

using testing::Gpu;

constexpr DType kBF16 = DType::kBF16;

TensorSpec with_type(TensorSpec spec, DType dtype) {
  spec.dtype = dtype;
  return spec;
}

// Runs and counts pieces of work, one after the other.
class Count {
 public:
  // `work`, of `elements` results.
  void operator()(const std::string& name, std::int64_t elements,
                  const std::function<void()>& work) {
    gpu.context().stream().synchronize();
    ptx::start_counting();
    work();
    gpu.context().stream().synchronize();
    for (const auto& [kernel, counts] : ptx::stop_counting()) {
      table[name + ": " + kernel] = {{"elements", elements},
                                     {"threads", counts.threads},
                                     {"instructions", counts.instructions},
                                     {"sectors_loaded", counts.sectors_loaded},
                                     {"sectors_stored", counts.sectors_stored}};
    }
  }

  Gpu gpu;
  nlohmann::ordered_json table;
};

void count_elementwise(Count& count) {
  Gpu& gpu = count.gpu;
  Context& context = gpu.context();
  for (const DType dtype : {kBF16, DType::kF32}) {
    const TensorSpec spec = channels_last(2, 64, 27, 27, dtype);
    const std::int64_t elements = spec.elements();
    const Tensor x = gpu.make(spec), y = gpu.make(spec), z = gpu.make(spec);
    const std::string type = dtype == kBF16 ? "bf16 " : "fp32 ";
    count(type + "relu forward", elements, [&] { relu_forward(context, y, x); });
    count(type + "relu backward", elements, [&] { relu_backward(context, z, y, x); });
    count(type + "add", elements, [&] { add(context, z, y, x); });
    count(type + "uniform", elements, [&] { fill_uniform(context, x, 0.5f, {.seed = 1}); });
    const Tensor rows = gpu.make(row_major({2, 9216}, dtype)), masked = gpu.make(rows.spec);
    begin_step(context, {});
    count(type + "dropout", rows.elements(), [&] { dropout_forward(context, masked, rows, {}); });
    const Tensor pixels = gpu.make(channels_last(2, 256, 6, 6, dtype)),
                 flat = gpu.make(row_major({2, 256, 6, 6}, dtype));
    count(type + "flatten forward", flat.elements(),
          [&] { permute_format(context, flat, pixels); });
    count(type + "flatten backward", flat.elements(),
          [&] { permute_format(context, pixels, flat); });
  }
  const Tensor wide = gpu.make(row_major({64, 363})),
               narrow = gpu.make(row_major({64, 363}, kBF16));
  count("cast to bf16", wide.elements(), [&] { cast(context, narrow, wide); });
  count("cast to fp32", wide.elements(), [&] { cast(context, wide, narrow); });
  const Tensor sum = gpu.make(wide.spec);
  count("accumulate", wide.elements(), [&] { cuda::accumulate(context, sum, wide); });
}

void count_pools(Count& count) {
  Gpu& gpu = count.gpu;
  Context& context = gpu.context();
  const MaxPool2dOptions options{3, 3, 2, 2, 0, 0};
  for (const DType dtype : {kBF16, DType::kF32}) {
    const std::string type = dtype == kBF16 ? "bf16 " : "fp32 ";
    const TensorSpec spec = channels_last(2, 64, 55, 55, dtype),
                     pooled = max_pool2d_output(spec, options);
    const Tensor x = gpu.make(spec), y = gpu.make(pooled),
                 index = gpu.make(with_type(pooled, DType::kU8));
    count(type + "max pool forward", pooled.elements(), [&] {
      max_pool2d_forward(context, y, index, x, options, MaxPool2dInput::kOutputOfRelu);
    });
    count(type + "max pool backward", spec.elements(),
          [&] { max_pool2d_backward(context, x, y, index, options); });
    const Tensor large = gpu.make(channels_last(2, 256, 13, 13, dtype)),
                 small = gpu.make(channels_last(2, 256, 6, 6, dtype));
    count(type + "average pool forward", small.elements(),
          [&] { adaptive_avg_pool2d_forward(context, small, large); });
    count(type + "average pool backward", large.elements(),
          [&] { adaptive_avg_pool2d_backward(context, large, small); });
  }
}

void count_losses(Count& count) {
  Gpu& gpu = count.gpu;
  Context& context = gpu.context();
  const Tensor logits = gpu.make(row_major({64, 10}, kBF16)), grad = gpu.make(logits.spec);
  const Tensor losses = gpu.make(row_major({64})), correct = gpu.make(row_major({64}, DType::kI32));
  const Tensor labels = gpu.make(row_major({64}, DType::kI32)),
               targets = gpu.make(row_major({64, 10}));
  count("cross entropy", 64,
        [&] { softmax_cross_entropy(context, losses, correct, grad, logits, labels, 1.0f); });
  count("squared error", 64,
        [&] { mean_squared_error(context, losses, grad, logits, targets, 1.0f); });
  const Buffer flag = Buffer::pinned(sizeof(std::uint32_t), testing::kGpu);
  context.set_failure_flag(static_cast<std::uint32_t*>(flag.data()));
  count("finite", 64, [&] { raise_unless_finite(context, losses); });
  context.set_failure_flag(nullptr);
}

void count_gradients(Count& count) {
  Gpu& gpu = count.gpu;
  Context& context = gpu.context();
  for (const DType dtype : {kBF16, DType::kF32}) {
    const Tensor output_grad = gpu.make(channels_last(2, 256, 13, 13, dtype)),
                 bias = gpu.make(row_major({256}));
    const Tensor workspace =
        gpu.make(row_major({cuda::bias_grad_workspace_bytes(2 * 13 * 13, 256)}, DType::kU8));
    count(std::string(dtype == kBF16 ? "bf16 " : "fp32 ") + "bias gradient", 256, [&] {
      cuda::bias_grad(context, bias, output_grad, GradientMode::kAccumulate, workspace.data);
    });
  }
  const TensorSpec flat = row_major({1 << 16});
  const Tensor parameter = gpu.make(flat), m = gpu.make(flat), v = gpu.make(flat),
               grad = gpu.make(flat);
  const Tensor copy = gpu.make(with_type(flat, kBF16));
  count("begin step", 1, [&] {
    begin_step(context, {.learning_rate = 0.1f, .adam = {0.1f, 0.5f}});
  });
  count("sgd", flat.elements(), [&] { sgd_step(context, parameter, m, grad, {}, copy); });
  count("adam", flat.elements(), [&] { adam_step(context, parameter, m, v, grad, {}, copy); });
  const Tensor workspace = gpu.make(row_major({kSumOfSquaresWorkspace}, DType::kU8));
  context.set_workspace(workspace);
  const Buffer memory = shared_host_memory({&context}, 8 * (1 + kNormsKept));
  auto* sum = static_cast<double*>(memory.data());
  count("sum of squares", flat.elements(), [&] { sum_of_squares(context, sum, grad); });
  *sum = 1e9;  // the gradients are made smaller
  count("clip", flat.elements(), [&] { clip_gradients(context, grad, {sum, 1}, 1.0, sum + 1); });
}

void count_images(Count& count) {
  Gpu& gpu = count.gpu;
  Context& context = gpu.context();
  const std::vector<std::uint8_t> bytes(2 * 3 * 32 * 32, 100);
  const std::uint8_t labels[] = {1, 2};
  const ResidentImages images(context, 2, 32, bytes.data(), labels, {.resize = 256, .crop = 224});
  Tensor samples = gpu.put(std::vector<std::int32_t>{0, 5, 6, 0, 1, 7, 8, 1});
  samples.spec = row_major({2, 4}, DType::kI32);
  const Tensor output = gpu.make(channels_last(2, 3, 224, 224, kBF16)),
               out_labels = gpu.make(row_major({2}, DType::kI32));
  count("images", output.elements(),
        [&] { transform_samples(context, output, out_labels, images, samples); });
  const Tensor blocks = gpu.make(channels_last(2, 48, 57, 57, kBF16));
  count("space to depth", blocks.elements(), [&] {
    cuda::space_to_depth(context, blocks, output, {4, 2});
  });
}

void count_batch_norm(Count& count) {
  Gpu& gpu = count.gpu;
  Context& context = gpu.context();
  const TensorSpec image = channels_last(2, 64, 27, 27, kBF16);
  const Tensor x = gpu.make(image), y = gpu.make(image), x_grad = gpu.make(image);
  const Tensor weight = gpu.make(row_major({64}, kBF16)), bias = gpu.make(weight.spec);
  const TensorSpec channel = row_major({64});
  const Tensor mean = gpu.make(channel), variance = gpu.make(channel), w = gpu.make(channel),
               b = gpu.make(channel);
  context.set_workspace(gpu.make(row_major({batch_norm2d_workspace_bytes(image) / 4})));
  const std::int64_t elements = image.elements();
  count("batch norm statistics", elements,
        [&] { batch_norm2d_statistics(context, mean, variance, x); });
  count("batch norm forward", elements,
        [&] { batch_norm2d_forward(context, y, x, mean, variance, weight, bias, 1e-5f); });
  count("batch norm backward, input", elements,
        [&] { batch_norm2d_backward_input(context, x_grad, y, x, mean, variance, weight, 1e-5f); });
  count("batch norm backward, weight", elements, [&] {
    batch_norm2d_backward_weight(context, w, b, y, x, mean, variance, 1e-5f,
                                 GradientMode::kAccumulate);
  });
}

}  // namespace
}  // namespace stagecoach

int main() {
  stagecoach::Count count;
  stagecoach::count_elementwise(count);
  stagecoach::count_pools(count);
  stagecoach::count_losses(count);
  stagecoach::count_gradients(count);
  stagecoach::count_images(count);
  stagecoach::count_batch_norm(count);
  fmt::print("{}\n", count.table.dump(2));
}
