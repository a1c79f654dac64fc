#include "data/sampler.h"

#include <limits>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/philox.h"

namespace stagecoach {
namespace {

// A number in [0, bound) from 64 random bits: the upper half of the 128-bit product. Of the 2^64
// inputs, every number gets floor(2^64 / bound) or one more: no bias that could be measured.
std::int64_t bounded(const PhiloxBlock& words, std::int64_t bound) {
  __extension__ using Wide = unsigned __int128;
  const std::uint64_t random = std::uint64_t{words[1]} << 32 | words[0];
  return static_cast<std::int64_t>(static_cast<Wide>(random) * static_cast<Wide>(bound) >> 64);
}

void check_counter(const char* name, std::int64_t value) {
  STAGECOACH_CHECK(value >= 0 && value <= std::numeric_limits<std::uint32_t>::max(), "sampler",
                   fmt::format("{} that fits 32 bits, not negative", name),
                   fmt::format("{}", value));
}

}  // namespace

std::vector<std::int64_t> shuffled_indices(std::int64_t size, std::uint64_t seed,
                                           std::int64_t epoch) {
  check_counter("a size", size);
  check_counter("an epoch", epoch);
  const RandomStream stream{
      .seed = seed, .use = RandomUse::kShuffle, .step = static_cast<std::uint32_t>(epoch)};
  std::vector<std::int64_t> indices(size);
  std::iota(indices.begin(), indices.end(), 0);
  for (std::int64_t i = size - 1; i > 0; --i) {
    std::swap(indices[i], indices[bounded(stream.block(static_cast<std::uint32_t>(i)), i + 1)]);
  }
  return indices;
}

std::vector<std::int64_t> batch_indices(std::int64_t size, std::int64_t batch, std::uint64_t seed,
                                        std::int64_t step) {
  STAGECOACH_CHECK(batch > 0, "batch_indices", "a batch of at least one sample",
                   fmt::format("{}", batch));
  STAGECOACH_CHECK(size >= batch, "batch_indices",
                   fmt::format("at least {} samples for one batch", batch),
                   fmt::format("{} samples", size), "use a smaller batch or more data");
  STAGECOACH_CHECK(step >= 0, "batch_indices", "step >= 0", fmt::format("{}", step));
  const std::int64_t steps_per_epoch = size / batch;
  const std::vector<std::int64_t> order = shuffled_indices(size, seed, step / steps_per_epoch);
  const auto begin = order.begin() + step % steps_per_epoch * batch;
  return {begin, begin + batch};
}

}  // namespace stagecoach
