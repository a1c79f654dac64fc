// Adaptive average pooling on the CPU.
#pragma once

#include "core/thread_pool.h"

namespace stagecoach::cpu {

// Activations lie as [N, H, W, C].
struct AdaptiveAvgPool2dShape {
  std::int64_t images, channels;
  std::int64_t in_h, in_w;
  std::int64_t out_h, out_w;
};

void adaptive_avg_pool2d_forward(ThreadPool& pool, const AdaptiveAvgPool2dShape& shape,
                                 float* output, const float* input);
void adaptive_avg_pool2d_backward(ThreadPool& pool, const AdaptiveAvgPool2dShape& shape,
                                  float* input_grad, const float* output_grad);

}  // namespace stagecoach::cpu
