#include "kernels/cpu/batch_norm2d.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/batch_norm2d.h"
#include "kernels/cpu/ivdep.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/batch_norm2d.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

// sums [2, channels]: over the pixels, of what add(pixel, channel, first, second) adds to a
// channel's two sums; behind them in memory, those of the pieces.
template <typename Add>
void sum_channels(ThreadPool& pool, std::int64_t pixels, std::int64_t channels, double* sums,
                  const Add& add) {
  double* of_pieces = sums + 2 * channels;
  parallel_ranges(pool, pixels, kBatchNormPixels, [&](std::int64_t begin, std::int64_t end, int) {
    double* first = of_pieces + begin / kBatchNormPixels * 2 * channels;
    double* second = first + channels;
    std::fill(first, first + 2 * channels, 0.0);
    for (std::int64_t pixel = begin; pixel < end; ++pixel) {
      for (std::int64_t c = 0; c < channels; ++c) add(pixel, c, first[c], second[c]);
    }
  });
  std::fill(sums, sums + 2 * channels, 0.0);
  for (std::int64_t begin = 0; begin < pixels; begin += kBatchNormPixels) {
    const double* piece = of_pieces + begin / kBatchNormPixels * 2 * channels;
    for (std::int64_t i = 0; i < 2 * channels; ++i) sums[i] += piece[i];
  }
}

// 1 / sqrt(variance + eps) of each channel.
std::vector<double> inverse_roots(std::int64_t channels, const float* variance, float eps) {
  std::vector<double> roots(static_cast<std::size_t>(channels));
  for (std::int64_t c = 0; c < channels; ++c) {
    roots[c] = 1.0 / std::sqrt(static_cast<double>(variance[c]) + static_cast<double>(eps));
  }
  return roots;
}

// sums of y_grad and of y_grad * z.
void sum_gradients(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                   const float* y_grad, const float* x, const float* mean,
                   const std::vector<double>& inverse, double* sums) {
  sum_channels(pool, pixels, channels, sums,
               [=](std::int64_t pixel, std::int64_t c, double& plain, double& scaled) {
                 const std::int64_t at = pixel * channels + c;
                 const auto gradient = static_cast<double>(y_grad[at]);
                 plain += gradient;
                 scaled += gradient * (static_cast<double>(x[at]) - static_cast<double>(mean[c]));
               });
  for (std::int64_t c = 0; c < channels; ++c) sums[channels + c] *= inverse[c];
}

}  // namespace

// The variance in a second pass: the square of a mean takes its digits away from that of squares.
void batch_norm2d_statistics(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                             float* mean, float* variance, const float* x, double* sums) {
  const auto count = static_cast<double>(pixels);
  sum_channels(pool, pixels, channels, sums,
               [=](std::int64_t pixel, std::int64_t c, double& sum, double&) {
                 sum += static_cast<double>(x[pixel * channels + c]);
               });
  for (std::int64_t c = 0; c < channels; ++c) mean[c] = static_cast<float>(sums[c] / count);
  sum_channels(pool, pixels, channels, sums,
               [=](std::int64_t pixel, std::int64_t c, double& sum, double&) {
                 const double away =
                     static_cast<double>(x[pixel * channels + c]) - static_cast<double>(mean[c]);
                 sum += away * away;
               });
  for (std::int64_t c = 0; c < channels; ++c) variance[c] = static_cast<float>(sums[c] / count);
}

void batch_norm2d_forward(ThreadPool& pool, std::int64_t pixels, std::int64_t channels, float* y,
                          const float* x, const float* mean, const float* variance,
                          const float* weight, const float* bias, float eps) {
  const std::vector<double> inverses = inverse_roots(channels, variance, eps);
  const double* inverse = inverses.data();
  parallel_ranges(pool, pixels, kBatchNormPixels, [=](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t pixel = begin; pixel < end; ++pixel) {
      const std::int64_t at = pixel * channels;
      STAGECOACH_IVDEP
      for (std::int64_t c = 0; c < channels; ++c) {
        const double away = static_cast<double>(x[at + c]) - static_cast<double>(mean[c]);
        y[at + c] = static_cast<float>(away * inverse[c] * static_cast<double>(weight[c]) +
                                       static_cast<double>(bias[c]));
      }
    }
  });
}

void batch_norm2d_backward_input(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                                 float* x_grad, const float* y_grad, const float* x,
                                 const float* mean, const float* variance, const float* weight,
                                 float eps, double* sums) {
  const std::vector<double> inverses = inverse_roots(channels, variance, eps);
  sum_gradients(pool, pixels, channels, y_grad, x, mean, inverses, sums);
  // Of every channel: the means of y_grad and of y_grad * z / sqrt(variance + eps).
  std::vector<double> plain_means(sums, sums + channels),
      scaled_means(sums + channels, sums + 2 * channels);
  for (std::int64_t c = 0; c < channels; ++c) {
    plain_means[c] /= static_cast<double>(pixels);
    scaled_means[c] *= inverses[c] / static_cast<double>(pixels);
  }
  const double *inverse = inverses.data(), *plain = plain_means.data(),
               *scaled = scaled_means.data();
  parallel_ranges(pool, pixels, kBatchNormPixels, [=](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t pixel = begin; pixel < end; ++pixel) {
      const std::int64_t at = pixel * channels;
      STAGECOACH_IVDEP
      for (std::int64_t c = 0; c < channels; ++c) {
        const double away = static_cast<double>(x[at + c]) - static_cast<double>(mean[c]);
        const double rest = static_cast<double>(y_grad[at + c]) - (plain[c] + away * scaled[c]);
        x_grad[at + c] = static_cast<float>(static_cast<double>(weight[c]) * inverse[c] * rest);
      }
    }
  });
}

void batch_norm2d_backward_weight(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                                  float* weight_grad, float* bias_grad, const float* y_grad,
                                  const float* x, const float* mean, const float* variance,
                                  float eps, GradientMode mode, double* sums) {
  sum_gradients(pool, pixels, channels, y_grad, x, mean, inverse_roots(channels, variance, eps),
                sums);
  const bool adds = mode == GradientMode::kAccumulate;
  for (std::int64_t c = 0; c < channels; ++c) {
    bias_grad[c] = (adds ? bias_grad[c] : 0.0f) + static_cast<float>(sums[c]);
    weight_grad[c] = (adds ? weight_grad[c] : 0.0f) + static_cast<float>(sums[channels + c]);
  }
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(batch_norm2d_statistics);
HWY_EXPORT(batch_norm2d_forward);
HWY_EXPORT(batch_norm2d_backward_input);
HWY_EXPORT(batch_norm2d_backward_weight);

void batch_norm2d_statistics(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                             float* mean, float* variance, const float* x, double* sums) {
  HWY_DYNAMIC_DISPATCH(batch_norm2d_statistics)(pool, pixels, channels, mean, variance, x, sums);
}

void batch_norm2d_forward(ThreadPool& pool, std::int64_t pixels, std::int64_t channels, float* y,
                          const float* x, const float* mean, const float* variance,
                          const float* weight, const float* bias, float eps) {
  HWY_DYNAMIC_DISPATCH(batch_norm2d_forward)
  (pool, pixels, channels, y, x, mean, variance, weight, bias, eps);
}

void batch_norm2d_backward_input(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                                 float* x_grad, const float* y_grad, const float* x,
                                 const float* mean, const float* variance, const float* weight,
                                 float eps, double* sums) {
  HWY_DYNAMIC_DISPATCH(batch_norm2d_backward_input)
  (pool, pixels, channels, x_grad, y_grad, x, mean, variance, weight, eps, sums);
}

void batch_norm2d_backward_weight(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                                  float* weight_grad, float* bias_grad, const float* y_grad,
                                  const float* x, const float* mean, const float* variance,
                                  float eps, GradientMode mode, double* sums) {
  HWY_DYNAMIC_DISPATCH(batch_norm2d_backward_weight)
  (pool, pixels, channels, weight_grad, bias_grad, y_grad, x, mean, variance, eps, mode, sums);
}

}  // namespace stagecoach::cpu
#endif
