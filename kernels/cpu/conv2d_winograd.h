// Winograd's convolution on the CPU (winograd_points.h): F(4x4, 3x3), which has a quarter of the
// multiplications, and F(2x2, 5x5), which has 9 / 25.
//
// The products of F, B and W are 36 matrix products, one for each point, over the tiles. The
// weights are transformed once for a step, and their gradient is summed transformed.
//
// Results have the same bits for any number of threads and any instruction set. Those of F and B
// for an image do not depend on the other images of the call. The sums of W are added in the order
// of the images, rows of tiles and tiles, so that a batch in several calls gives the same bits.
//
// The error, as root mean square relative to that of the result, for AlexNet's shapes at batch 32
// (inputs normal behind a ReLU, gradients and weights normal); in brackets that of a direct sum of
// fused multiply-adds, and after the bar that of Winograd with the usual points 1 and 2, all 1e-6:
//
//            F                  B                  W
//   conv2    0.7 (0.5) | 1.6    1.4 (1.3) | 2.9    6.8 (1.7) | 13.2    F(2x2, 5x5)
//   conv3    1.0 (0.5) | 2.3    1.7 (1.0) | 3.9    1.6 (1.0) | 3.0     F(4x4, 3x3)
//   conv4    1.4 (0.8) | 3.2    1.4 (0.8) | 3.1    1.5 (0.8) | 3.1
//   conv5    1.2 (0.6) | 2.7    1.4 (0.8) | 3.0    1.4 (0.9) | 3.0
#pragma once

#include <cstdint>

#include "kernels/cpu/conv2d.h"

namespace stagecoach::cpu {

// For the tables of conv2d.h.
extern const Conv2dForward kWinogradForward;
extern const Conv2dBackwardInput kWinogradBackwardInput;
extern const Conv2dBackwardWeight kWinogradBackwardWeight;

// Stride 1, kernel 3x3 or 5x5, paddings less than the kernel.
bool winograd_fits(const Conv2dShape& shape);

// The most that forward, backward_input and accumulate_weight need.
std::int64_t winograd_workspace_bytes(const Conv2dShape& shape, int threads);

// The transformed weights, packed for the products. Not all floats are used: those between the
// points' matrices are neither written nor read.
std::int64_t winograd_forward_weight_floats(const Conv2dShape& shape);
std::int64_t winograd_backward_weight_floats(const Conv2dShape& shape);
void winograd_transform_weight_forward(ThreadPool& pool, const Conv2dShape& shape,
                                       float* transformed, const float* weight);
void winograd_transform_weight_backward(ThreadPool& pool, const Conv2dShape& shape,
                                        float* transformed, const float* weight);

void winograd_forward(ThreadPool& pool, void* workspace, const Conv2dShape& shape, float* output,
                      const float* input, const float* transformed, const float* bias,
                      Activation activation);
void winograd_backward_input(ThreadPool& pool, void* workspace, const Conv2dShape& shape,
                             float* input_grad, const float* output_grad, const float* transformed);

// W: sums, transformed, and bias_grad are overwritten or added to as `mode` says; each image's sum
// of the bias gradient, over its pixels, is added on its own.
std::int64_t winograd_sums_floats(const Conv2dShape& shape);
void winograd_accumulate_weight(ThreadPool& pool, void* workspace, const Conv2dShape& shape,
                                float* sums, float* bias_grad, const float* output_grad,
                                const float* input, GradientMode mode);
// weight_grad, overwritten, from the sums of a step.
void winograd_finish_weight(ThreadPool& pool, const Conv2dShape& shape, float* weight_grad,
                            const float* sums);

}  // namespace stagecoach::cpu
