// Optimizer steps on the CPU: one sweep over the memory for each. A product and the sum that takes
// it are one operation, std::fma: which, tests/kernels/optimizers_test.cpp has written out.
#pragma once

#include "core/thread_pool.h"
#include "kernels/optimizers.h"

namespace stagecoach::cpu {

void sgd_step(ThreadPool& pool, std::int64_t elements, float* parameter, float* velocity,
              const float* grad, const SgdOptions& options, float learning_rate);
void adam_step(ThreadPool& pool, std::int64_t elements, float* parameter, float* m, float* v,
               const float* grad, const AdamOptions& options, const AdamRates& rates);

}  // namespace stagecoach::cpu
