#pragma once

#include "core/thread_pool.h"

namespace stagecoach::cpu {

void mean_squared_error(ThreadPool& pool, std::int64_t rows, std::int64_t columns, float* losses,
                        float* prediction_grad, const float* prediction, const float* targets,
                        float scale);

}  // namespace stagecoach::cpu
