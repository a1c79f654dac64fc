// How running statistics take in those of a step: the same code on the CPU and a GPU.
#pragma once

#include <cstdint>

namespace stagecoach {

// Of channel `c`; see batch_norm2d_update(). constexpr, so that kernels of GPUs call it too.
constexpr void batch_norm2d_update_channel(std::int64_t parts, std::int64_t channels,
                                           std::int64_t c, float* running_mean,
                                           float* running_variance, const float* means,
                                           const float* variances, std::int64_t values,
                                           float momentum) {
  double mean = 0.0, square = 0.0;
  for (std::int64_t part = 0; part < parts; ++part) {
    const double own = static_cast<double>(means[part * channels + c]);
    mean += own;
    square += static_cast<double>(variances[part * channels + c]) + own * own;
  }
  const auto count = static_cast<double>(parts);
  mean /= count;
  double variance = square / count - mean * mean;
  const double all = count * static_cast<double>(values);
  if (all > 1.0) variance *= all / (all - 1.0);
  const double share = static_cast<double>(momentum);
  running_mean[c] =
      static_cast<float>((1.0 - share) * static_cast<double>(running_mean[c]) + share * mean);
  running_variance[c] = static_cast<float>(
      (1.0 - share) * static_cast<double>(running_variance[c]) + share * variance);
}

}  // namespace stagecoach
