#include "data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "core/error.h"

namespace stagecoach {
namespace {

using Indices = std::vector<std::int64_t>;

TEST(Sampler, IsAPermutation) {
  for (const std::int64_t size : {0, 1, 2, 7, 1000}) {
    Indices indices = shuffled_indices(size, 5, 3);
    std::sort(indices.begin(), indices.end());
    Indices expected(size);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(indices, expected);
  }
}

// From a Fisher-Yates and a Philox written separately, in Python.
TEST(Sampler, KnownPermutations) {
  EXPECT_EQ(shuffled_indices(10, 1138, 0), (Indices{9, 3, 1, 7, 5, 2, 6, 4, 8, 0}));
  EXPECT_EQ(shuffled_indices(10, 1138, 1), (Indices{3, 9, 0, 7, 5, 6, 8, 2, 1, 4}));
  const std::uint64_t large_seed = 1138 + (std::uint64_t{1} << 40);
  EXPECT_EQ(shuffled_indices(10, large_seed, 0), (Indices{5, 0, 1, 3, 2, 9, 4, 6, 7, 8}));
}

TEST(Sampler, EpochsAndSeedsDiffer) {
  const Indices indices = shuffled_indices(100, 5, 3);
  EXPECT_EQ(indices, shuffled_indices(100, 5, 3));
  EXPECT_NE(indices, shuffled_indices(100, 5, 4));
  EXPECT_NE(indices, shuffled_indices(100, 6, 3));
}

TEST(Sampler, EveryOrderIsAsLikely) {
  std::map<Indices, int> counts;
  for (int epoch = 0; epoch < 6000; ++epoch) ++counts[shuffled_indices(3, 11, epoch)];
  ASSERT_EQ(counts.size(), 6u);
  // 1000 expected, standard deviation 29.
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 120);
}

TEST(Sampler, AnEpochTakesNoSampleTwiceAndDropsTheRest) {
  // 23 samples in batches of 5: 4 steps an epoch.
  ShuffledBatches batches(23, 5, 9);
  for (const std::int64_t epoch : {5, 0, 1}) {
    const Indices order = shuffled_indices(23, 9, epoch);
    Indices seen;
    for (std::int64_t step = 4 * epoch; step < 4 * epoch + 4; ++step) {
      const Indices batch = batches.of_step(step);
      EXPECT_EQ(batch.size(), 5u);
      seen.insert(seen.end(), batch.begin(), batch.end());
    }
    EXPECT_EQ(seen, Indices(order.begin(), order.begin() + 20));
    EXPECT_EQ(std::set<std::int64_t>(seen.begin(), seen.end()).size(), 20u);
  }
  EXPECT_EQ(ShuffledBatches(5, 5, 9).of_step(2), shuffled_indices(5, 9, 2));
}

TEST(Sampler, OrKeepsTheRestAsASmallerBatch) {
  ShuffledBatches batches(23, 5, 9, LastBatch::kKeep);
  EXPECT_EQ(batches.steps_per_epoch(), 5);
  const Indices order = shuffled_indices(23, 9, 2);
  EXPECT_EQ(batches.of_step(2 * 5 + 3), Indices(order.begin() + 15, order.begin() + 20));
  EXPECT_EQ(batches.of_step(2 * 5 + 4), Indices(order.begin() + 20, order.end()));
  EXPECT_EQ(ShuffledBatches(20, 5, 9, LastBatch::kKeep).steps_per_epoch(), 4);
  EXPECT_EQ(ShuffledBatches(3, 5, 9, LastBatch::kKeep).of_step(4), shuffled_indices(3, 9, 4));
}

TEST(Sampler, RefusesWhatCannotBe) {
  EXPECT_THROW(ShuffledBatches(0, 5, 0, LastBatch::kKeep), Error);
  EXPECT_THROW(ShuffledBatches(4, 5, 0), Error);
  EXPECT_THROW(ShuffledBatches(4, 0, 0), Error);
  EXPECT_THROW(ShuffledBatches(4, 2, 0).of_step(-1), Error);
  EXPECT_THROW(shuffled_indices(-1, 0, 0), Error);
  EXPECT_THROW(shuffled_indices(4, 0, -1), Error);
}

}  // namespace
}  // namespace stagecoach
