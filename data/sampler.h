// Sampler: the order of the samples, a pure function of (seed, epoch).
#pragma once

#include <cstdint>
#include <vector>

namespace stagecoach {

// A random permutation of [0, size): Fisher-Yates driven by RandomStream{seed, kShuffle, step =
// epoch}.
std::vector<std::int64_t> shuffled_indices(std::int64_t size, std::uint64_t seed,
                                           std::int64_t epoch);

// Sample indices of training step `step` with `batch` samples a step. An epoch has
// floor(size / batch) steps; the rest of its order is dropped. Throws Error when size < batch.
std::vector<std::int64_t> batch_indices(std::int64_t size, std::int64_t batch, std::uint64_t seed,
                                        std::int64_t step);

}  // namespace stagecoach
