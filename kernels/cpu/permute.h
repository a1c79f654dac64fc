// Transposition on the CPU.
#pragma once

#include "core/thread_pool.h"

namespace stagecoach::cpu {

// Transposes each of `count` row-major matrices [rows, columns] of `input` into [columns, rows].
void transpose(ThreadPool& pool, std::int64_t count, std::int64_t rows, std::int64_t columns,
               float* output, const float* input);

void copy(ThreadPool& pool, std::int64_t elements, float* output, const float* input);

}  // namespace stagecoach::cpu
