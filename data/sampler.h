// Sampler: the order of the samples, a pure function of (seed, epoch).
#pragma once

#include <cstdint>
#include <vector>

namespace stagecoach {

// A random permutation of [0, size): Fisher-Yates driven by RandomStream{seed, kShuffle, step =
// epoch}.
std::vector<std::int64_t> shuffled_indices(std::int64_t size, std::uint64_t seed,
                                           std::int64_t epoch);

// What becomes of the samples of an epoch that do not fill a batch.
enum class LastBatch : std::uint8_t {
  kDrop,  // left out: other ones in every epoch
  kKeep,  // a smaller batch
};

// Sample indices of training steps with `batch` samples each: an epoch has floor(size / batch)
// steps, with kKeep one more for the rest of its order, where there is any.
class ShuffledBatches {
 public:
  // Throws Error when an epoch has no step.
  ShuffledBatches(std::int64_t size, std::int64_t batch, std::uint64_t seed,
                  LastBatch last = LastBatch::kDrop);
  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
  std::vector<std::int64_t> of_step(std::int64_t step);

 private:
  std::int64_t size_, batch_, steps_per_epoch_;
  std::uint64_t seed_;
  std::int64_t epoch_ = -1;  // of order_
  std::vector<std::int64_t> order_;
};

}  // namespace stagecoach
