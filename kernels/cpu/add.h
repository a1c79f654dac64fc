#pragma once

#include "core/thread_pool.h"

namespace stagecoach::cpu {

void add(ThreadPool& pool, std::int64_t elements, float* output, const float* a, const float* b);

}  // namespace stagecoach::cpu
