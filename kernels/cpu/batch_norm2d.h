#pragma once

#include "core/thread_pool.h"
#include "kernels/gradient_mode.h"

namespace stagecoach::cpu {

// Images as a matrix [pixels, channels]. `sums`: of batch_norm2d_workspace_bytes().
void batch_norm2d_statistics(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                             float* mean, float* variance, const float* x, double* sums);
void batch_norm2d_forward(ThreadPool& pool, std::int64_t pixels, std::int64_t channels, float* y,
                          const float* x, const float* mean, const float* variance,
                          const float* weight, const float* bias, float eps);
void batch_norm2d_backward_input(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                                 float* x_grad, const float* y_grad, const float* x,
                                 const float* mean, const float* variance, const float* weight,
                                 float eps, double* sums);
void batch_norm2d_backward_weight(ThreadPool& pool, std::int64_t pixels, std::int64_t channels,
                                  float* weight_grad, float* bias_grad, const float* y_grad,
                                  const float* x, const float* mean, const float* variance,
                                  float eps, GradientMode mode, double* sums);

}  // namespace stagecoach::cpu
