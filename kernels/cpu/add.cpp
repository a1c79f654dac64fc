#include "kernels/cpu/add.h"

#include "kernels/cpu/ivdep.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/add.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kGrain = std::int64_t{1} << 16;

}  // namespace

void add(ThreadPool& pool, std::int64_t elements, float* output, const float* a, const float* b) {
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
    STAGECOACH_IVDEP
    for (std::int64_t i = begin; i < end; ++i) output[i] = a[i] + b[i];
  });
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(add);

void add(ThreadPool& pool, std::int64_t elements, float* output, const float* a, const float* b) {
  HWY_DYNAMIC_DISPATCH(add)(pool, elements, output, a, b);
}

}  // namespace stagecoach::cpu
#endif
