#include "kernels/cpu/dropout.h"

#include <algorithm>
#include <bit>

#include "kernels/cpu/ivdep.h"
#include "kernels/cpu/philox_words.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dropout.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

// Elements of a row that one task works on: wide rows are shared when there are few of them.
constexpr std::int64_t kPiece = 128 * kPhiloxWords;

}  // namespace

void dropout(ThreadPool& pool, std::int64_t rows, std::int64_t columns, float* output,
             const float* input, const DropoutMask& mask, std::uint32_t step) {
  const float p = mask.p;
  const float scale = 1.0f / (1.0f - p);
  const std::int64_t pieces = (columns + kPiece - 1) / kPiece;
  pool.parallel_for(rows * pieces, [&](std::int64_t task, int) {
    const std::int64_t row = task / pieces;
    const RandomStream stream{.seed = mask.seed,
                              .use = RandomUse::kDropout,
                              .layer = mask.layer,
                              .step = step,
                              .sample = mask.first_sample + static_cast<std::uint32_t>(row)};
    const std::int64_t begin = task % pieces * kPiece;
    const std::int64_t end = std::min(begin + kPiece, columns);
    for (std::int64_t e = begin; e < end; e += kPhiloxWords) {
      std::uint32_t words[kPhiloxWords];
      philox_words(stream, static_cast<std::uint32_t>(e / 4), words);
      const float* from = input + row * columns + e;
      float* to = output + row * columns + e;
      const std::int64_t count = std::min(kPhiloxWords, end - e);
      STAGECOACH_IVDEP
      for (std::int64_t i = 0; i < count; ++i) {
        // By a mask of bits: a choice between two values is a branch to the compiler, and random.
        const std::uint32_t keep = uniform01(words[i]) < p ? 0 : ~std::uint32_t{0};
        to[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(from[i] * scale) & keep);
      }
    }
  });
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(dropout);

void dropout(ThreadPool& pool, std::int64_t rows, std::int64_t columns, float* output,
             const float* input, const DropoutMask& mask, std::uint32_t step) {
  HWY_DYNAMIC_DISPATCH(dropout)(pool, rows, columns, output, input, mask, step);
}

}  // namespace stagecoach::cpu
#endif
