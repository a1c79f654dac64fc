// The fully connected layer on the CPU.
#pragma once

#include "core/thread_pool.h"
#include "kernels/activation.h"
#include "kernels/gradient_mode.h"

namespace stagecoach::cpu {

// Rows of a batch, and the sizes of the weight [outputs, inputs].
struct LinearShape {
  std::int64_t rows, inputs, outputs;
};

// Of linear_forward().
std::int64_t linear_workspace_bytes(const LinearShape& shape, int threads);

void linear_forward(ThreadPool& pool, void* workspace, const LinearShape& shape, float* output,
                    const float* input, const float* weight, const float* bias,
                    Activation activation);
void linear_backward_input(ThreadPool& pool, const LinearShape& shape, float* input_grad,
                           const float* output_grad, const float* weight);
void linear_backward_weight(ThreadPool& pool, const LinearShape& shape, float* weight_grad,
                            float* bias_grad, const float* output_grad, const float* input,
                            GradientMode mode);

}  // namespace stagecoach::cpu
