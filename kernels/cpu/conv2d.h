// Convolution on the CPU: the sizes, and the choice of the algorithm.
#pragma once

#include "core/thread_pool.h"
#include "kernels/conv2d.h"

namespace stagecoach::cpu {

// The sizes of one convolution. Activations lie as [N, H, W, C], weights as [O, KH, KW, C].
struct Conv2dShape {
  std::int64_t images, in_h, in_w, channels;
  std::int64_t outputs, kernel_h, kernel_w;
  std::int64_t out_h, out_w;
  Conv2dOptions options;

  std::int64_t pixels() const { return out_h * out_w; }                 // of one output image
  std::int64_t rows() const { return images * pixels(); }               // of the output as a matrix
  std::int64_t taps() const { return kernel_h * kernel_w * channels; }  // inputs of one output
  std::int64_t in_elements() const { return in_h * in_w * channels; }   // of one input image
};

// One way to compute the three operations. The results have the same bits for any number of
// threads; `workspace` has workspace_bytes(shape, pool.threads()).
struct Conv2dAlgorithm {
  const char* name;
  std::int64_t (*workspace_bytes)(const Conv2dShape& shape, int threads);
  void (*forward)(ThreadPool& pool, void* workspace, const Conv2dShape& shape, float* output,
                  const float* input, const float* weight, const float* bias);
  void (*backward_input)(ThreadPool& pool, void* workspace, const Conv2dShape& shape,
                         float* input_grad, const float* output_grad, const float* weight);
  void (*backward_weight)(ThreadPool& pool, void* workspace, const Conv2dShape& shape,
                          float* weight_grad, float* bias_grad, const float* output_grad,
                          const float* input, GradientMode mode);
};

// The algorithm for a convolution: a function of its shape alone, so every run takes the same.
const Conv2dAlgorithm& choose_conv2d(const Conv2dShape& shape);

}  // namespace stagecoach::cpu
