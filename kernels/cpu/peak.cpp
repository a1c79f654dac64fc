#include "kernels/cpu/peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/peak.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Floating-point operations of one call. As many chains as hide the latency of an addition on every
// processor; they go to `result`, or the compiler would drop them.
std::int64_t multiply_add_chains(float* result) {
  constexpr hn::ScalableTag<float> kFloats;
  constexpr std::int64_t kChains = 12, kSteps = 2'000'000;
  const auto factor = hn::Set(kFloats, *result);
  hn::Vec<hn::ScalableTag<float>> sums[kChains];
#pragma GCC unroll 12
  for (std::int64_t i = 0; i < kChains; ++i) sums[i] = hn::Set(kFloats, static_cast<float>(i));
  for (std::int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (std::int64_t i = 0; i < kChains; ++i) sums[i] = hn::MulAdd(sums[i], factor, factor);
  }
  for (std::int64_t i = 0; i < kChains; ++i) *result += hn::GetLane(sums[i]);
  return 2 * kChains * kSteps * static_cast<std::int64_t>(hn::Lanes(kFloats));
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(multiply_add_chains);

double peak_flops() {
  static const double peak = [] {
    using Clock = std::chrono::steady_clock;
    double best = 0.0;
    volatile float start = 0.5f;
    for (int round = 0; round < 4; ++round) {
      float result = start;
      const Clock::time_point begin = Clock::now();
      const std::int64_t operations = HWY_DYNAMIC_DISPATCH(multiply_add_chains)(&result);
      const std::chrono::duration<double> seconds = Clock::now() - begin;
      start = result > 0.0f ? 0.5f : 0.25f;
      best = std::max(best, static_cast<double>(operations) / seconds.count());
    }
    return best;
  }();
  return peak;
}

}  // namespace stagecoach::cpu
#endif
