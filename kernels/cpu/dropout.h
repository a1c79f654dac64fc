// Dropout on the CPU.
#pragma once

#include "core/thread_pool.h"
#include "kernels/dropout.h"

namespace stagecoach::cpu {

// output[n, e] = dropped(n, e) ? 0 : input[n, e] / (1 - p)
void dropout(ThreadPool& pool, std::int64_t rows, std::int64_t columns, float* output,
             const float* input, const DropoutMask& mask, std::uint32_t step);

}  // namespace stagecoach::cpu
