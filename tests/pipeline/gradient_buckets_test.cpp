#include "pipeline/gradient_buckets.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

TEST(GradientBuckets, HalvesAtWholeCacheLines) {
  EXPECT_EQ(share_of({0, 64}, 1, 0), (Elements{0, 64}));
  EXPECT_EQ(share_of({0, 100}, 2, 0), (Elements{0, 48}));
  EXPECT_EQ(share_of({0, 100}, 2, 1), (Elements{48, 100}));
  // The lower bit of the replica decides first, as neighbours exchange first.
  EXPECT_EQ(share_of({0, 128}, 4, 1), (Elements{64, 96}));
  EXPECT_EQ(share_of({0, 128}, 4, 2), (Elements{32, 64}));
  EXPECT_EQ(share_of({0, 10}, 4, 3), (Elements{0, 10}));
  EXPECT_EQ(share_of({0, 10}, 4, 0).size(), 0);
}

TEST(GradientBuckets, CommonElements) {
  EXPECT_EQ(common({0, 10}, {5, 20}), (Elements{5, 10}));
  EXPECT_EQ(common({0, 10}, {10, 20}).size(), 0);
  EXPECT_EQ(common({30, 40}, {10, 20}).size(), 0);
}

// Layers 0 and 2 have no parameters.
TEST(GradientBuckets, AreCutFromTheLastLayerOn) {
  const std::vector<std::int64_t> first = {0, 0, 100, 100, 150};
  const auto cut = [&](std::int64_t least_bytes) {
    std::vector<std::pair<Elements, int>> buckets;
    for (const GradientBucket& bucket : gradient_buckets(first, 1000, least_bytes)) {
      buckets.emplace_back(bucket.elements, bucket.first_layer);
    }
    return buckets;
  };
  using Expected = std::vector<std::pair<Elements, int>>;
  EXPECT_EQ(cut(1), (Expected{{{150, 1000}, 4}, {{100, 150}, 3}, {{0, 100}, 1}}));
  EXPECT_EQ(cut(4 * 850), (Expected{{{150, 1000}, 4}, {{0, 150}, 1}}));
  EXPECT_EQ(cut(4 * 851), (Expected{{{100, 1000}, 3}, {{0, 100}, 1}}));
  EXPECT_EQ(cut(4 * 1000), (Expected{{{0, 1000}, 1}}));
  EXPECT_TRUE(gradient_buckets({0, 0}, 0, 0).empty());
}

}  // namespace
}  // namespace stagecoach
