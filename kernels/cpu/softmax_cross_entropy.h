// Softmax and cross-entropy on the CPU.
#pragma once

#include "core/thread_pool.h"

namespace stagecoach::cpu {

// The labels are in range. `logits_grad` may be `logits`.
void softmax_cross_entropy(ThreadPool& pool, std::int64_t rows, std::int64_t classes, float* losses,
                           std::int32_t* correct, float* logits_grad, const float* logits,
                           const std::int32_t* labels, float scale, float label_smoothing);

}  // namespace stagecoach::cpu
