// Sums of squares on the CPU, and what scales gradients.
#pragma once

#include "core/thread_pool.h"

namespace stagecoach::cpu {

// In an order that `elements` alone decides. `workspace`: kSumOfSquaresWorkspace bytes.
double sum_of_squares(ThreadPool& pool, double* workspace, std::int64_t elements,
                      const float* values);
void scale(ThreadPool& pool, std::int64_t elements, float* values, float factor);

}  // namespace stagecoach::cpu
