// Max pooling on the CPU: vectorised over the channels, parallel over the rows of the result.
#pragma once

#include "core/thread_pool.h"
#include "kernels/max_pool2d.h"

namespace stagecoach::cpu {

// The sizes of one pooling. Activations lie as [N, H, W, C].
struct MaxPool2dShape {
  std::int64_t images, in_h, in_w, channels;
  std::int64_t out_h, out_w;
  MaxPool2dOptions options;
};

void max_pool2d_forward(ThreadPool& pool, const MaxPool2dShape& shape, float* output,
                        std::uint8_t* index, const float* input, MaxPool2dInput kind);
void max_pool2d_backward(ThreadPool& pool, const MaxPool2dShape& shape, float* input_grad,
                         const float* output_grad, const std::uint8_t* index);

}  // namespace stagecoach::cpu
