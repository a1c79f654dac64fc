#include "kernels/cpu/backend.h"

#include <cmath>
#include <cstring>

#include "core/bfloat16.h"
#include "core/error.h"
#include "kernels/batch_norm2d_running.h"
#include "kernels/clip_factor.h"
#include "kernels/cpu/adaptive_avg_pool2d.h"
#include "kernels/cpu/add.h"
#include "kernels/cpu/batch_norm2d.h"
#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/dropout.h"
#include "kernels/cpu/failure.h"
#include "kernels/cpu/gradient_norm.h"
#include "kernels/cpu/image_transform.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/max_pool2d.h"
#include "kernels/cpu/mean_squared_error.h"
#include "kernels/cpu/optimizers.h"
#include "kernels/cpu/permute.h"
#include "kernels/cpu/relu.h"
#include "kernels/cpu/softmax_cross_entropy.h"
#include "kernels/cpu/step.h"
#include "kernels/cpu/uniform.h"

namespace stagecoach::cpu {
namespace {

MaxPool2dShape pool_shape(const Shape& input, const Shape& output,
                          const MaxPool2dOptions& options) {
  return {.images = input[0],
          .in_h = input[2],
          .in_w = input[3],
          .channels = input[1],
          .out_h = output[2],
          .out_w = output[3],
          .options = options};
}

AdaptiveAvgPool2dShape pool_shape(const Shape& input, const Shape& output) {
  return {.images = input[0],
          .channels = input[1],
          .in_h = input[2],
          .in_w = input[3],
          .out_h = output[2],
          .out_w = output[3]};
}

std::int64_t pixels_of(const Tensor& images) {
  return images.elements() / images.shape()[1];
}

Conv2dShape shape_of(const TensorSpec& input, const TensorSpec& weight,
                     const Conv2dOptions& options) {
  return conv2d_shape(input.shape, weight.shape, conv2d_output(input, weight, options).shape,
                      options);
}

// The form of the weight that the caller keeps, or one made now in front of the workspace.
struct FormAndWorkspace {
  const float* form;
  void* workspace;
};

template <typename Algorithm>
FormAndWorkspace with_form(Context& context, const Algorithm& algorithm, const Conv2dShape& shape,
                           void* workspace, const Tensor& weight, const Tensor& form) {
  if (form.defined()) return {form.as<float>(), workspace};
  auto* made = static_cast<float*>(workspace);
  algorithm.make_form(context.pool(), shape, made, weight.as<float>());
  return {made, made + algorithm.form_floats(shape)};
}

LinearShape linear_shape(const Tensor& batch, const Tensor& weight) {
  return {batch.shape()[0], weight.shape()[1], weight.shape()[0]};
}

// Of the rows from `first` on.
void zero_rows(const Tensor& tensor, std::int64_t first) {
  const std::int64_t rows = tensor.shape()[0];
  if (first == rows) return;
  const Tensor rest = rows_of(tensor, first, rows - first);
  std::memset(rest.data, 0, static_cast<std::size_t>(rest.bytes()));
}

template <typename To, typename From>
void cast_elements(Context& context, const Tensor& output, const Tensor& input) {
  constexpr std::int64_t kGrain = std::int64_t{1} << 16;
  context.stream().enqueue([=, &context] {
    To* to = output.as<To>();
    const From* from = input.as<From>();
    parallel_ranges(context.pool(), input.elements(), kGrain,
                    [=](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t i = begin; i < end; ++i) to[i] = static_cast<To>(from[i]);
                    });
  });
}

}  // namespace

constinit const CpuBackend kBackend;

void CpuBackend::check_target(const Target& target) const {
  STAGECOACH_CHECK(target.precision == Precision::kFp32, "cpu", "precision fp32",
                   std::string(name_of(target.precision)));
  instruction_set();  // throws where there is none, or another was asked for
}

void CpuBackend::begin_step(Context& context, const StepValues& values) const {
  context.stream().enqueue([to = &step_values(context), values] { *to = values; });
}

void CpuBackend::relu_forward(Context& context, Tensor output, Tensor input) const {
  context.stream().enqueue([=, &context] {
    cpu::relu_forward(context.pool(), input.elements(), output.as<float>(), input.as<float>());
  });
}

void CpuBackend::relu_backward(Context& context, Tensor input_grad, Tensor output_grad,
                               Tensor output) const {
  context.stream().enqueue([=, &context] {
    cpu::relu_backward(context.pool(), output.elements(), input_grad.as<float>(),
                       output_grad.as<float>(), output.as<float>());
  });
}

void CpuBackend::max_pool2d_forward(Context& context, Tensor output, Tensor index, Tensor input,
                                    const MaxPool2dOptions& options, MaxPool2dInput kind) const {
  const MaxPool2dShape shape = pool_shape(input.shape(), output.shape(), options);
  context.stream().enqueue([=, &context] {
    cpu::max_pool2d_forward(context.pool(), shape, output.as<float>(), index.as<std::uint8_t>(),
                            input.as<float>(), kind);
  });
}

void CpuBackend::max_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad,
                                     Tensor index, const MaxPool2dOptions& options) const {
  const MaxPool2dShape shape = pool_shape(input_grad.shape(), output_grad.shape(), options);
  context.stream().enqueue([=, &context] {
    cpu::max_pool2d_backward(context.pool(), shape, input_grad.as<float>(), output_grad.as<float>(),
                             index.as<std::uint8_t>());
  });
}

void CpuBackend::adaptive_avg_pool2d_forward(Context& context, Tensor output, Tensor input) const {
  const AdaptiveAvgPool2dShape shape = pool_shape(input.shape(), output.shape());
  context.stream().enqueue([=, &context] {
    cpu::adaptive_avg_pool2d_forward(context.pool(), shape, output.as<float>(), input.as<float>());
  });
}

void CpuBackend::adaptive_avg_pool2d_backward(Context& context, Tensor input_grad,
                                              Tensor output_grad) const {
  const AdaptiveAvgPool2dShape shape = pool_shape(input_grad.shape(), output_grad.shape());
  context.stream().enqueue([=, &context] {
    cpu::adaptive_avg_pool2d_backward(context.pool(), shape, input_grad.as<float>(),
                                      output_grad.as<float>());
  });
}

std::int64_t CpuBackend::conv2d_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                                const Conv2dOptions& options,
                                                const Target& target) const {
  return cpu::conv2d_workspace_bytes(shape_of(input, weight, options), target.convolution,
                                     target.threads);
}

Conv2dStep CpuBackend::conv2d_step(const TensorSpec& input, const TensorSpec& weight,
                                   const Conv2dOptions& options, const Target& target) const {
  const Conv2dShape shape = shape_of(input, weight, options);
  const Convolution wanted = target.convolution;
  const Conv2dBackwardWeight& weights = choose_conv2d_backward_weight(shape, wanted, true);
  const std::int64_t sums = weights.sums_floats == nullptr ? 0 : weights.sums_floats(shape);
  return {row_major({choose_conv2d_forward(shape, wanted).form_floats(shape)}),
          row_major({choose_conv2d_backward_input(shape, wanted).form_floats(shape)}),
          row_major({sums})};
}

void CpuBackend::conv2d_prepare(Context& context, Tensor forward, Tensor backward,
                                const TensorSpec& input, Tensor weight,
                                const Conv2dOptions& options) const {
  const Conv2dShape shape = shape_of(input, weight.spec, options);
  const Convolution wanted = context.target().convolution;
  context.stream().enqueue([=, &context] {
    choose_conv2d_forward(shape, wanted)
        .make_form(context.pool(), shape, forward.as<float>(), weight.as<float>());
    if (!backward.defined()) return;
    choose_conv2d_backward_input(shape, wanted)
        .make_form(context.pool(), shape, backward.as<float>(), weight.as<float>());
  });
}

void CpuBackend::conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight,
                                Tensor bias, const Conv2dOptions& options, Activation activation,
                                Tensor form) const {
  const Conv2dShape shape = shape_of(input.spec, weight.spec, options);
  const Conv2dForward& algorithm = choose_conv2d_forward(shape, context.target().convolution);
  void* workspace = context.workspace(
      "conv2d_forward", conv2d_workspace_bytes(input.spec, weight.spec, options, context.target()));
  context.stream().enqueue([=, &context, &algorithm] {
    const auto [read, scratch] = with_form(context, algorithm, shape, workspace, weight, form);
    algorithm.run(context.pool(), scratch, shape, output.as<float>(), input.as<float>(), read,
                  bias.as<float>(), activation);
  });
}

void CpuBackend::conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad,
                                       Tensor weight, const Conv2dOptions& options,
                                       Tensor form) const {
  const Conv2dShape shape = shape_of(input_grad.spec, weight.spec, options);
  const Conv2dBackwardInput& algorithm =
      choose_conv2d_backward_input(shape, context.target().convolution);
  void* workspace = context.workspace(
      "conv2d_backward_input",
      conv2d_workspace_bytes(input_grad.spec, weight.spec, options, context.target()));
  context.stream().enqueue([=, &context, &algorithm] {
    const auto [read, scratch] = with_form(context, algorithm, shape, workspace, weight, form);
    algorithm.run(context.pool(), scratch, shape, input_grad.as<float>(), output_grad.as<float>(),
                  read);
  });
}

void CpuBackend::conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                        Tensor output_grad, Tensor input,
                                        const Conv2dOptions& options, GradientMode mode,
                                        Tensor sums) const {
  const Conv2dShape shape = shape_of(input.spec, weight_grad.spec, options);
  const Conv2dBackwardWeight& algorithm =
      choose_conv2d_backward_weight(shape, context.target().convolution, sums.defined());
  void* workspace = context.workspace(
      "conv2d_backward_weight",
      conv2d_workspace_bytes(input.spec, weight_grad.spec, options, context.target()));
  const Tensor to = sums.defined() ? sums : weight_grad;
  context.stream().enqueue([=, &context, &algorithm] {
    algorithm.run(context.pool(), workspace, shape, to.as<float>(), bias_grad.as<float>(),
                  output_grad.as<float>(), input.as<float>(), mode);
  });
}

void CpuBackend::conv2d_finish_weight(Context& context, Tensor weight_grad, Tensor sums,
                                      const TensorSpec& input, const Conv2dOptions& options) const {
  const Conv2dShape shape = shape_of(input, weight_grad.spec, options);
  const Conv2dBackwardWeight& algorithm =
      choose_conv2d_backward_weight(shape, context.target().convolution, true);
  context.stream().enqueue([=, &context, &algorithm] {
    algorithm.finish(context.pool(), shape, weight_grad.as<float>(), sums.as<float>());
  });
}

std::int64_t CpuBackend::linear_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                                const Target& target) const {
  return cpu::linear_workspace_bytes({input.shape[0], weight.shape[1], weight.shape[0]},
                                     target.threads);
}

void CpuBackend::linear_forward(Context& context, Tensor output, Tensor input, Tensor weight,
                                Tensor bias, Activation activation) const {
  const LinearShape shape = linear_shape(input, weight);
  void* workspace =
      context.workspace("linear_forward", cpu::linear_workspace_bytes(shape, context.threads()));
  context.stream().enqueue([=, &context] {
    cpu::linear_forward(context.pool(), workspace, shape, output.as<float>(), input.as<float>(),
                        weight.as<float>(), bias.as<float>(), activation);
  });
}

void CpuBackend::linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad,
                                       Tensor weight) const {
  const LinearShape shape = linear_shape(input_grad, weight);
  context.stream().enqueue([=, &context] {
    cpu::linear_backward_input(context.pool(), shape, input_grad.as<float>(),
                               output_grad.as<float>(), weight.as<float>());
  });
}

void CpuBackend::linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                        Tensor output_grad, Tensor input, GradientMode mode) const {
  const LinearShape shape = linear_shape(input, weight_grad);
  context.stream().enqueue([=, &context] {
    cpu::linear_backward_weight(context.pool(), shape, weight_grad.as<float>(),
                                bias_grad.as<float>(), output_grad.as<float>(), input.as<float>(),
                                mode);
  });
}

void CpuBackend::dropout(Context& context, Tensor output, Tensor input,
                         const DropoutMask& mask) const {
  context.stream().enqueue([=, &context, &now = step_values(context)] {
    cpu::dropout(context.pool(), input.shape()[0], input.shape()[1], output.as<float>(),
                 input.as<float>(), mask, static_cast<std::uint32_t>(now.step));
  });
}

void CpuBackend::add(Context& context, Tensor output, Tensor a, Tensor b) const {
  context.stream().enqueue([=, &context] {
    cpu::add(context.pool(), a.elements(), output.as<float>(), a.as<float>(), b.as<float>());
  });
}

void CpuBackend::batch_norm2d_statistics(Context& context, Tensor mean, Tensor variance, Tensor x,
                                         double* sums) const {
  context.stream().enqueue([=, &context] {
    cpu::batch_norm2d_statistics(context.pool(), pixels_of(x), x.shape()[1], mean.as<float>(),
                                 variance.as<float>(), x.as<float>(), sums);
  });
}

void CpuBackend::batch_norm2d_forward(Context& context, Tensor y, Tensor x, Tensor mean,
                                      Tensor variance, Tensor weight, Tensor bias,
                                      float eps) const {
  context.stream().enqueue([=, &context] {
    cpu::batch_norm2d_forward(context.pool(), pixels_of(x), x.shape()[1], y.as<float>(),
                              x.as<float>(), mean.as<float>(), variance.as<float>(),
                              weight.as<float>(), bias.as<float>(), eps);
  });
}

void CpuBackend::batch_norm2d_backward_input(Context& context, Tensor x_grad, Tensor y_grad,
                                             Tensor x, Tensor mean, Tensor variance, Tensor weight,
                                             float eps, double* sums) const {
  context.stream().enqueue([=, &context] {
    cpu::batch_norm2d_backward_input(context.pool(), pixels_of(x), x.shape()[1], x_grad.as<float>(),
                                     y_grad.as<float>(), x.as<float>(), mean.as<float>(),
                                     variance.as<float>(), weight.as<float>(), eps, sums);
  });
}

void CpuBackend::batch_norm2d_backward_weight(Context& context, Tensor weight_grad,
                                              Tensor bias_grad, Tensor y_grad, Tensor x,
                                              Tensor mean, Tensor variance, float eps,
                                              GradientMode mode, double* sums) const {
  context.stream().enqueue([=, &context] {
    cpu::batch_norm2d_backward_weight(
        context.pool(), pixels_of(x), x.shape()[1], weight_grad.as<float>(), bias_grad.as<float>(),
        y_grad.as<float>(), x.as<float>(), mean.as<float>(), variance.as<float>(), eps, mode, sums);
  });
}

void CpuBackend::batch_norm2d_update(Context& context, Tensor running_mean, Tensor running_variance,
                                     Tensor means, Tensor variances, std::int64_t values,
                                     float momentum) const {
  context.stream().enqueue([=, flag = context.failure_flag()] {
    if (is_raised(flag)) return;
    const std::int64_t parts = means.shape()[0], channels = means.shape()[1];
    for (std::int64_t c = 0; c < channels; ++c) {
      batch_norm2d_update_channel(parts, channels, c, running_mean.as<float>(),
                                  running_variance.as<float>(), means.as<float>(),
                                  variances.as<float>(), values, momentum);
    }
  });
}

void CpuBackend::softmax_cross_entropy(Context& context, Tensor losses, Tensor correct,
                                       Tensor logits_grad, Tensor logits, Tensor labels,
                                       float scale, std::int64_t samples,
                                       float label_smoothing) const {
  context.stream().enqueue([=, &context] {
    const std::int64_t classes = logits.shape()[1];
    const auto* label = labels.as<std::int32_t>();
    for (std::int64_t row = 0; row < samples; ++row) {
      STAGECOACH_CHECK(label[row] >= 0 && label[row] < classes, "softmax_cross_entropy",
                       fmt::format("labels from 0 to {}", classes - 1),
                       fmt::format("label {} in row {}", label[row], row));
    }
    cpu::softmax_cross_entropy(context.pool(), samples, classes, losses.as<float>(),
                               correct.as<std::int32_t>(), logits_grad.as<float>(),
                               logits.as<float>(), label, scale, label_smoothing);
    for (const Tensor& tensor : {losses, correct, logits_grad}) zero_rows(tensor, samples);
  });
}

void CpuBackend::mean_squared_error(Context& context, Tensor losses, Tensor prediction_grad,
                                    Tensor prediction, Tensor targets, float scale,
                                    std::int64_t samples) const {
  context.stream().enqueue([=, &context] {
    cpu::mean_squared_error(context.pool(), samples, prediction.elements() / prediction.shape()[0],
                            losses.as<float>(), prediction_grad.as<float>(), prediction.as<float>(),
                            targets.as<float>(), scale);
    for (const Tensor& tensor : {losses, prediction_grad}) zero_rows(tensor, samples);
  });
}

void CpuBackend::raise_unless_finite(Context& context, Tensor losses) const {
  context.stream().enqueue([losses, flag = context.failure_flag()] {
    cpu::raise_unless_finite(losses.elements(), losses.as<float>(), flag);
  });
}

void CpuBackend::sum_of_squares(Context& context, double* sum, Tensor values,
                                void* workspace) const {
  context.stream().enqueue([=, &context] {
    *sum = cpu::sum_of_squares(context.pool(), static_cast<double*>(workspace), values.elements(),
                               values.as<float>());
  });
}

void CpuBackend::clip_gradients(Context& context, Tensor gradients, std::span<const double> sums,
                                double max_norm, double* norms) const {
  context.stream().enqueue([=, &context, &now = step_values(context)] {
    const double norm = std::sqrt(sum_ascending(sums.data(), std::ssize(sums)));
    if (norms != nullptr) norms[now.step % kNormsKept] = norm;
    const float factor = clip_factor(norm, max_norm);
    if (factor == 1.0f || !gradients.defined()) return;
    cpu::scale(context.pool(), gradients.elements(), gradients.as<float>(), factor);
  });
}

void CpuBackend::sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad, Tensor,
                          const SgdOptions& options) const {
  context.stream().enqueue([=, &context, &now = step_values(context)] {
    if (is_raised(context.failure_flag())) return;
    cpu::sgd_step(context.pool(), parameter.elements(), parameter.as<float>(), velocity.as<float>(),
                  grad.as<float>(), options, now.learning_rate);
  });
}

void CpuBackend::adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad,
                           Tensor, const AdamOptions& options) const {
  context.stream().enqueue([=, &context, &now = step_values(context)] {
    if (is_raised(context.failure_flag())) return;
    cpu::adam_step(context.pool(), parameter.elements(), parameter.as<float>(), m.as<float>(),
                   v.as<float>(), grad.as<float>(), options, now.adam);
  });
}

void CpuBackend::permute_format(Context& context, Tensor output, Tensor input) const {
  context.stream().enqueue([=, &context] {
    float* to = output.as<float>();
    const float* from = input.as<float>();
    if (output.spec.format == input.spec.format) {
      return cpu::copy(context.pool(), input.elements(), to, from);
    }
    const Shape& shape = input.shape();
    const std::int64_t channels = shape[1], pixels = shape[2] * shape[3];
    if (input.spec.format == MemoryFormat::kRowMajor) {
      cpu::transpose(context.pool(), shape[0], channels, pixels, to, from);
    } else {
      cpu::transpose(context.pool(), shape[0], pixels, channels, to, from);
    }
  });
}

void CpuBackend::fill_uniform(Context& context, Tensor output, float bound,
                              const RandomStream& stream) const {
  context.stream().enqueue([=, &context] {
    // Channels-last memory holds the rows [channel] of each pixel; row-major memory is one row.
    const bool permuted = output.spec.format == MemoryFormat::kChannelsLast;
    const Shape& shape = output.shape();
    const std::int64_t channels = permuted ? shape[1] : 1;
    const std::int64_t pixels = permuted ? shape[2] * shape[3] : output.elements();
    cpu::fill_uniform(context.pool(), output.elements(), channels, pixels, output.as<float>(),
                      bound, stream);
  });
}

void CpuBackend::cast(Context& context, Tensor output, Tensor input) const {
  const bool to_bf16 = output.spec.dtype == DType::kBF16;
  if (input.spec.dtype == DType::kBF16) {
    to_bf16 ? cast_elements<BFloat16, BFloat16>(context, output, input)
            : cast_elements<float, BFloat16>(context, output, input);
  } else {
    to_bf16 ? cast_elements<BFloat16, float>(context, output, input)
            : cast_elements<float, float>(context, output, input);
  }
}

void CpuBackend::transform_images(Context& context, Tensor output, Tensor images,
                                  std::span<const ImageCrop> crops,
                                  const ImageTransform& transform) const {
  const std::int64_t count = images.shape()[0], side = images.shape()[2];
  context.stream().enqueue(
      [=, &context, crops = std::vector<ImageCrop>(crops.begin(), crops.end())] {
        cpu::transform_images(context.pool(), count, side, output.as<float>(),
                              images.as<std::uint8_t>(), crops.data(), transform);
      });
}

}  // namespace stagecoach::cpu
