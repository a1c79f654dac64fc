#include "kernels/batch_norm2d.h"

#include <cmath>

#include "kernels/batch_norm2d_running.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

// Images as a matrix [pixels, channels]. `sums` [2, channels], and behind them [pieces, 2,
// channels]: a thread makes both sums of a channel over one piece, then one adds up the pieces.

__device__ double inverse_root(float variance, float eps) {
  return 1.0 / std::sqrt(static_cast<double>(variance) + static_cast<double>(eps));
}

template <typename T>
__device__ double wide(T value) {
  return static_cast<double>(static_cast<float>(value));
}

// What a pixel adds to the first and second sum of a channel.
template <typename T>
struct Values {
  const T* x;
  __device__ void add(std::int64_t at, std::int64_t, double& first, double&) const {
    first += wide(x[at]);
  }
};
template <typename T>
struct SquaredDistances {
  const T* x;
  const float* mean;
  __device__ void add(std::int64_t at, std::int64_t c, double& first, double&) const {
    const double away = wide(x[at]) - static_cast<double>(mean[c]);
    first += away * away;
  }
};
template <typename T>
struct Gradients {
  const T *y_grad, *x;
  const float* mean;
  __device__ void add(std::int64_t at, std::int64_t c, double& first, double& second) const {
    const double gradient = wide(y_grad[at]);
    first += gradient;
    second += gradient * (wide(x[at]) - static_cast<double>(mean[c]));
  }
};

template <typename Added>
__global__ void __launch_bounds__(kThreads)
    sum_pieces_kernel(std::int64_t items, std::int64_t pixels, std::int64_t channels, double* sums,
                      Added added) {
  for (std::int64_t i = first_item(); i < items; i += item_stride()) {
    const std::int64_t piece = i / channels, c = i % channels;
    const std::int64_t end = std::min((piece + 1) * kBatchNormPixels, pixels);
    double first = 0.0, second = 0.0;
    for (std::int64_t pixel = piece * kBatchNormPixels; pixel < end; ++pixel) {
      added.add(pixel * channels + c, c, first, second);
    }
    double* to = sums + 2 * (piece + 1) * channels + c;
    to[0] = first;
    to[channels] = second;
  }
}

__global__ void __launch_bounds__(kThreads)
    add_pieces_kernel(std::int64_t pieces, std::int64_t channels, double* sums) {
  for (std::int64_t i = first_item(); i < 2 * channels; i += item_stride()) {
    double sum = 0.0;
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      sum += sums[2 * (piece + 1) * channels + i];
    }
    sums[i] = sum;
  }
}

__global__ void __launch_bounds__(kThreads)
    mean_kernel(std::int64_t pixels, std::int64_t channels, float* mean, const double* sums) {
  for (std::int64_t c = first_item(); c < channels; c += item_stride()) {
    mean[c] = static_cast<float>(sums[c] / static_cast<double>(pixels));
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    normalize_kernel(std::int64_t elements, std::int64_t channels, T* y, const T* x,
                     const float* mean, const float* variance, const T* weight, const T* bias,
                     float eps) {
  for (std::int64_t i = first_item(); i < elements; i += item_stride()) {
    const std::int64_t c = i % channels;
    const double z = (wide(x[i]) - static_cast<double>(mean[c])) * inverse_root(variance[c], eps);
    y[i] = T(static_cast<float>(z * wide(weight[c]) + wide(bias[c])));
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    backward_input_kernel(std::int64_t elements, std::int64_t channels, T* x_grad, const T* y_grad,
                          const T* x, const float* mean, const float* variance, const T* weight,
                          float eps, const double* sums) {
  const double pixels = static_cast<double>(elements / channels);
  for (std::int64_t i = first_item(); i < elements; i += item_stride()) {
    const std::int64_t c = i % channels;
    const double inverse = inverse_root(variance[c], eps);
    const double z = (wide(x[i]) - static_cast<double>(mean[c])) * inverse;
    const double mean_part = (sums[c] + z * (sums[channels + c] * inverse)) / pixels;
    x_grad[i] = T(static_cast<float>(wide(weight[c]) * inverse * (wide(y_grad[i]) - mean_part)));
  }
}

__global__ void __launch_bounds__(kThreads)
    backward_weight_kernel(std::int64_t channels, float* weight_grad, float* bias_grad,
                           const float* variance, float eps, bool adds, const double* sums) {
  for (std::int64_t c = first_item(); c < channels; c += item_stride()) {
    const double scaled = sums[channels + c] * inverse_root(variance[c], eps);
    bias_grad[c] = (adds ? bias_grad[c] : 0.0f) + static_cast<float>(sums[c]);
    weight_grad[c] = (adds ? weight_grad[c] : 0.0f) + static_cast<float>(scaled);
  }
}

__global__ void __launch_bounds__(kThreads)
    update_kernel(std::int64_t parts, std::int64_t channels, float* running_mean,
                  float* running_variance, const float* means, const float* variances,
                  std::int64_t values, float momentum, const std::uint32_t* failure_flag) {
  if (failure_flag != nullptr && *failure_flag != 0) return;
  for (std::int64_t c = first_item(); c < channels; c += item_stride()) {
    batch_norm2d_update_channel(parts, channels, c, running_mean, running_variance, means,
                                variances, values, momentum);
  }
}

template <typename Added>
void sum_channels(Context& context, std::int64_t pixels, std::int64_t channels, double* sums,
                  Added added) {
  const std::int64_t pieces = groups_of(pixels, kBatchNormPixels);
  launch(context, pieces * channels, sum_pieces_kernel<Added>, pieces * channels, pixels, channels,
         sums, added);
  launch(context, 2 * channels, add_pieces_kernel, pieces, channels, sums);
}

std::int64_t pixels_of(const Tensor& x) {
  return x.elements() / x.shape()[1];
}

}  // namespace

void CudaBackend::batch_norm2d_statistics(Context& context, Tensor mean, Tensor variance, Tensor x,
                                          double* sums) const {
  const std::int64_t channels = x.shape()[1], pixels = pixels_of(x);
  with_element_type(x.spec.dtype, [&]<typename T>(T) {
    sum_channels(context, pixels, channels, sums, Values<T>{x.as<T>()});
    launch(context, channels, mean_kernel, pixels, channels, mean.as<float>(), sums);
    sum_channels(context, pixels, channels, sums, SquaredDistances<T>{x.as<T>(), mean.as<float>()});
    launch(context, channels, mean_kernel, pixels, channels, variance.as<float>(), sums);
  });
}

void CudaBackend::batch_norm2d_forward(Context& context, Tensor y, Tensor x, Tensor mean,
                                       Tensor variance, Tensor weight, Tensor bias,
                                       float eps) const {
  with_element_type(x.spec.dtype, [&]<typename T>(T) {
    launch(context, x.elements(), normalize_kernel<T>, x.elements(), x.shape()[1], y.as<T>(),
           x.as<T>(), mean.as<float>(), variance.as<float>(), weight.as<T>(), bias.as<T>(), eps);
  });
}

void CudaBackend::batch_norm2d_backward_input(Context& context, Tensor x_grad, Tensor y_grad,
                                              Tensor x, Tensor mean, Tensor variance, Tensor weight,
                                              float eps, double* sums) const {
  const std::int64_t channels = x.shape()[1];
  with_element_type(x.spec.dtype, [&]<typename T>(T) {
    sum_channels(context, pixels_of(x), channels, sums,
                 Gradients<T>{y_grad.as<T>(), x.as<T>(), mean.as<float>()});
    launch(context, x.elements(), backward_input_kernel<T>, x.elements(), channels, x_grad.as<T>(),
           y_grad.as<T>(), x.as<T>(), mean.as<float>(), variance.as<float>(), weight.as<T>(), eps,
           sums);
  });
}

void CudaBackend::batch_norm2d_backward_weight(Context& context, Tensor weight_grad,
                                               Tensor bias_grad, Tensor y_grad, Tensor x,
                                               Tensor mean, Tensor variance, float eps,
                                               GradientMode mode, double* sums) const {
  const std::int64_t channels = x.shape()[1];
  with_element_type(x.spec.dtype, [&]<typename T>(T) {
    sum_channels(context, pixels_of(x), channels, sums,
                 Gradients<T>{y_grad.as<T>(), x.as<T>(), mean.as<float>()});
  });
  launch(context, channels, backward_weight_kernel, channels, weight_grad.as<float>(),
         bias_grad.as<float>(), variance.as<float>(), eps, mode == GradientMode::kAccumulate, sums);
}

void CudaBackend::batch_norm2d_update(Context& context, Tensor running_mean,
                                      Tensor running_variance, Tensor means, Tensor variances,
                                      std::int64_t values, float momentum) const {
  const std::int64_t parts = means.shape()[0], channels = means.shape()[1];
  launch(context, channels, update_kernel, parts, channels, running_mean.as<float>(),
         running_variance.as<float>(), means.as<float>(), variances.as<float>(), values, momentum,
         context.failure_flag());
}

}  // namespace stagecoach::cuda
