#include "data/sampler.h"

#include <algorithm>
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

ShuffledBatches::ShuffledBatches(std::int64_t size, std::int64_t batch, std::uint64_t seed,
                                 LastBatch last)
    : size_(size), batch_(batch), seed_(seed) {
  STAGECOACH_CHECK(batch > 0, "ShuffledBatches", "a batch of at least one sample",
                   fmt::format("{}", batch));
  steps_per_epoch_ = (last == LastBatch::kKeep ? size + batch - 1 : size) / batch;
  STAGECOACH_CHECK(
      steps_per_epoch_ > 0, "ShuffledBatches",
      fmt::format("at least {} samples for one batch", last == LastBatch::kKeep ? 1 : batch),
      fmt::format("{} samples", size), "use a smaller batch or more data");
}

std::vector<std::int64_t> ShuffledBatches::of_step(std::int64_t step) {
  STAGECOACH_CHECK(step >= 0, "ShuffledBatches", "step >= 0", fmt::format("{}", step));
  const std::int64_t epoch = step / steps_per_epoch_;
  if (epoch != epoch_) order_ = shuffled_indices(size_, seed_, epoch);
  epoch_ = epoch;
  const std::int64_t first = step % steps_per_epoch_ * batch_;
  return {order_.begin() + first, order_.begin() + std::min(first + batch_, size_)};
}

}  // namespace stagecoach
