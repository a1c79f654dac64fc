#include "kernels/cpu/add.h"

namespace stagecoach::cpu {
namespace {

constexpr std::int64_t kGrain = std::int64_t{1} << 16;

}  // namespace

void add(ThreadPool& pool, std::int64_t elements, float* output, const float* a, const float* b) {
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
// Operands are the same memory or apart; see relu.cpp.
#pragma GCC ivdep
    for (std::int64_t i = begin; i < end; ++i) output[i] = a[i] + b[i];
  });
}

}  // namespace stagecoach::cpu
