// ReLU on the CPU.
#pragma once

#include "core/thread_pool.h"

namespace stagecoach::cpu {

void relu_forward(ThreadPool& pool, std::int64_t elements, float* output, const float* input);
// On the calling thread.
void relu_in_place(std::int64_t elements, float* values);
void relu_backward(ThreadPool& pool, std::int64_t elements, float* input_grad,
                   const float* output_grad, const float* output);

}  // namespace stagecoach::cpu
