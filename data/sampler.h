// Sampler: the order of the samples, a pure function of (seed, epoch).
#pragma once

#include <cstdint>
#include <vector>

namespace stagecoach {

// A random permutation of [0, size): Fisher-Yates driven by RandomStream{seed, kShuffle, step =
// epoch}.
std::vector<std::int64_t> shuffled_indices(std::int64_t size, std::uint64_t seed,
                                           std::int64_t epoch);

// Sample indices of training steps with `batch` samples each. An epoch has floor(size / batch)
// steps; the rest of its order is dropped.
class ShuffledBatches {
 public:
  // Throws Error when size < batch.
  ShuffledBatches(std::int64_t size, std::int64_t batch, std::uint64_t seed);
  std::vector<std::int64_t> of_step(std::int64_t step);

 private:
  std::int64_t size_, batch_;
  std::uint64_t seed_;
  std::int64_t epoch_ = -1;  // of order_
  std::vector<std::int64_t> order_;
};

}  // namespace stagecoach
