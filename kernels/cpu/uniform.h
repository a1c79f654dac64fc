// Uniform random numbers on the CPU.
#pragma once

#include "core/philox.h"
#include "core/thread_pool.h"

namespace stagecoach::cpu {

// Element e of the logical order [n, channels, pixels] is stored at its place in
// [n, pixels, channels].
void fill_uniform(ThreadPool& pool, std::int64_t elements, std::int64_t channels,
                  std::int64_t pixels, float* output, float bound, const RandomStream& stream);

}  // namespace stagecoach::cpu
