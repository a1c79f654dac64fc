#include "kernels/cpu/uniform.h"

#include <algorithm>

#include "kernels/cpu/philox_words.h"

namespace stagecoach::cpu {
namespace {

constexpr std::int64_t kGrain = 256 * kPhiloxWords;

}  // namespace

void fill_uniform(ThreadPool& pool, std::int64_t elements, std::int64_t channels,
                  std::int64_t pixels, float* output, float bound, const RandomStream& stream) {
  const auto store = [=](std::int64_t first, std::int64_t count, const float* values) {
    if (channels == 1 || pixels == 1) {  // both orders are the same
      std::copy(values, values + count, output + first);
      return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t e = first + i;
      const std::int64_t pixel = e % pixels, plane = e / pixels;
      output[(plane / channels * pixels + pixel) * channels + plane % channels] = values[i];
    }
  };
  parallel_ranges(pool, elements, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t e = begin; e < end; e += kPhiloxWords) {
      std::uint32_t words[kPhiloxWords];
      float values[kPhiloxWords];
      philox_words(stream, static_cast<std::uint32_t>(e / 4), words);
      for (std::int64_t i = 0; i < kPhiloxWords; ++i) {
        values[i] = (2.0f * uniform01(words[i]) - 1.0f) * bound;
      }
      store(e, std::min(kPhiloxWords, end - e), values);
    }
  });
}

}  // namespace stagecoach::cpu
