#include "kernels/cpu/gradient_norm.h"

#include <algorithm>

#include "kernels/cpu/ivdep.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gradient_norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kGrain = std::int64_t{1} << 16;
constexpr std::int64_t kChains = 16, kLeastBlock = 4096, kMostBlocks = 1024;

// Element i belongs to chain i mod 16; the chains are added in ascending order. The square of a
// float is exact in double.
double sum_of_block(std::int64_t elements, const float* values) {
  double chains[kChains] = {};
  const std::int64_t whole = elements / kChains * kChains;
  for (std::int64_t i = 0; i < whole; i += kChains) {
    for (std::int64_t c = 0; c < kChains; ++c) {
      const auto value = static_cast<double>(values[i + c]);
      chains[c] += value * value;
    }
  }
  for (std::int64_t i = whole; i < elements; ++i) {
    const auto value = static_cast<double>(values[i]);
    chains[i - whole] += value * value;
  }
  double sum = 0.0;
  for (const double chain : chains) sum += chain;
  return sum;
}

}  // namespace

double sum_of_squares(ThreadPool& pool, double* workspace, std::int64_t elements,
                      const float* values) {
  const std::int64_t least = (elements + kMostBlocks - 1) / kMostBlocks;
  const std::int64_t block = std::max(kLeastBlock, (least + kChains - 1) / kChains * kChains);
  const std::int64_t blocks = (elements + block - 1) / block;
  pool.parallel_for(blocks, [=](std::int64_t b, int) {
    workspace[b] = sum_of_block(std::min(block, elements - b * block), values + b * block);
  });
  double sum = 0.0;
  for (std::int64_t b = 0; b < blocks; ++b) sum += workspace[b];
  return sum;
}

void scale(ThreadPool& pool, std::int64_t elements, float* values, float factor) {
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
    STAGECOACH_IVDEP
    for (std::int64_t i = begin; i < end; ++i) values[i] *= factor;
  });
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(sum_of_squares);
HWY_EXPORT(scale);

double sum_of_squares(ThreadPool& pool, double* workspace, std::int64_t elements,
                      const float* values) {
  return HWY_DYNAMIC_DISPATCH(sum_of_squares)(pool, workspace, elements, values);
}

void scale(ThreadPool& pool, std::int64_t elements, float* values, float factor) {
  HWY_DYNAMIC_DISPATCH(scale)(pool, elements, values, factor);
}

}  // namespace stagecoach::cpu
#endif
