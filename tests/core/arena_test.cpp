#include "core/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <thread>

#include "core/error.h"

namespace stagecoach {
namespace {

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + Buffer::kAlignment - 1) / Buffer::kAlignment * Buffer::kAlignment;
}

TEST(PlaceByLifetime, NothingNeedsNothing) {
  std::int64_t total = -1;
  EXPECT_TRUE(place_by_lifetime({}, total).empty());
  EXPECT_EQ(total, 0);
}

TEST(PlaceByLifetime, AChainUsesTwoPlacesInTurn) {
  // Each piece is made from the one before: activations of a network.
  const std::vector<Lifetime> chain = {{512, 0, 1}, {512, 1, 2}, {512, 2, 3}, {512, 3, 4}};
  std::int64_t total = 0;
  EXPECT_EQ(place_by_lifetime(chain, total), (std::vector<std::int64_t>{0, 512, 0, 512}));
  EXPECT_EQ(total, 1024);
}

TEST(PlaceByLifetime, OneWhoLivesLongStandsBesideAll) {
  const std::vector<Lifetime> pieces = {{256, 0, 9}, {1024, 0, 4}, {768, 5, 9}};
  std::int64_t total = 0;
  const auto offsets = place_by_lifetime(pieces, total);
  EXPECT_EQ(total, 1024 + 256);
  EXPECT_EQ(offsets[1], 0);
  EXPECT_EQ(offsets[2], 0);
}

TEST(PlaceByLifetime, FillsAGapBetweenPlacedPieces) {
  // The gap that the 512 bytes leave below the others at step 1 is just as large as the last one.
  const std::vector<Lifetime> pieces = {{1024, 0, 0}, {768, 0, 1}, {512, 1, 1}};
  std::int64_t total = 0;
  const auto offsets = place_by_lifetime(pieces, total);
  EXPECT_EQ(offsets, (std::vector<std::int64_t>{0, 1024, 0}));
  EXPECT_EQ(total, 1792);
}

TEST(PlaceByLifetime, NeverOverlapsAndWastesLittle) {
  std::mt19937 random(7);
  const auto below = [&random](int n) { return static_cast<int>(random() % n); };
  for (int round = 0; round < 300; ++round) {
    const int steps = 1 + below(20);
    std::vector<Lifetime> pieces(below(30));
    for (Lifetime& piece : pieces) {
      piece.bytes = below(5) == 0 ? 0 : below(5000);
      piece.first = below(steps);
      piece.last = piece.first + below(steps - piece.first);
    }
    std::int64_t total = 0, sum = 0, lower_bound = 0;
    const auto offsets = place_by_lifetime(pieces, total);
    ASSERT_EQ(offsets.size(), pieces.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      EXPECT_EQ(offsets[i] % Buffer::kAlignment, 0);
      EXPECT_GE(offsets[i], 0);
      EXPECT_LE(offsets[i] + pieces[i].bytes, total);
      sum += aligned(pieces[i].bytes);
      for (std::size_t j = 0; j < i; ++j) {
        const bool same_time =
            pieces[i].first <= pieces[j].last && pieces[j].first <= pieces[i].last;
        const bool same_place =
            offsets[i] < offsets[j] + pieces[j].bytes && offsets[j] < offsets[i] + pieces[i].bytes;
        EXPECT_FALSE(same_time && same_place) << "round " << round << ": " << i << ", " << j;
      }
    }
    for (int step = 0; step < steps; ++step) {
      std::int64_t alive = 0;
      for (const Lifetime& piece : pieces) {
        if (piece.first <= step && step <= piece.last) alive += aligned(piece.bytes);
      }
      lower_bound = std::max(lower_bound, alive);
    }
    EXPECT_GE(total, lower_bound);
    EXPECT_LE(total, sum);
  }
}

TEST(ArenaPlan, RegionsStandBehindOneAnother) {
  ArenaPlan plan;
  EXPECT_EQ(plan.add("parameters", 1000), 0);
  EXPECT_EQ(plan.add("nothing", 0), 1);
  EXPECT_EQ(plan.add("slots", 256, 3), 2);
  EXPECT_EQ(plan.bytes(), 1024 + 3 * 256);
  EXPECT_EQ(plan.regions()[0].bytes, 1024);
  EXPECT_EQ(plan.regions()[2].offset, 1024);
  EXPECT_EQ(plan.regions()[2].count, 3);
  EXPECT_THROW(plan.add("wrong", -1), Error);
  EXPECT_THROW(plan.add("wrong", 1, -1), Error);
}

TEST(Arena, SlotsAreApart) {
  ArenaPlan plan;
  plan.add("a", 100);
  plan.add("b", 100, 2);
  const Arena arena(plan);
  const Tensor a = arena.view(0, 0, 0, row_major({64}));
  const Tensor b0 = arena.view(1, 0, 0, row_major({64}));
  const Tensor b1 = arena.view(1, 1, 128, row_major({32}));
  EXPECT_EQ(static_cast<char*>(b0.data) - static_cast<char*>(a.data), 256);
  EXPECT_EQ(static_cast<char*>(b1.data) - static_cast<char*>(a.data), 256 + 256 + 128);
}

TEST(Arena, ViewsThatDoNotFitAreNamed) {
  ArenaPlan plan;
  plan.add("slots", 256, 2);
  const Arena arena(plan);
  EXPECT_THROW(arena.view(0, 2, 0, row_major({1})), Error);
  EXPECT_THROW(arena.view(0, -1, 0, row_major({1})), Error);
  EXPECT_THROW(arena.view(0, 0, -4, row_major({1})), Error);
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_THROW(arena.view(0, 0, kMost - 3, row_major({4})), Error);  // its end is below 0
  try {
    arena.view(0, 1, 4, row_major({64}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("'slots'"), std::string::npos) << error.what();
  }
}

TEST(Arena, PeakIsWhatWasEverTaken) {
  ArenaPlan plan;
  plan.add("small", 256, 4);
  plan.add("large", 1024, 2);
  Arena arena(plan);
  EXPECT_EQ(arena.peak_bytes(), 0);
  arena.take(0, 0);
  arena.take(1, 0);
  arena.give(0, 0);
  arena.take(0, 3);
  EXPECT_EQ(arena.peak_bytes(), 1536);
  arena.take(1, 1);
  EXPECT_EQ(arena.peak_bytes(), 2560);
  arena.give(1, 0);
  arena.give(1, 1);
  arena.give(0, 3);
  EXPECT_EQ(arena.peak_bytes(), 2560);
}

TEST(Arena, ASlotIsTakenAndGivenInTurn) {
  ArenaPlan plan;
  plan.add("slots", 256, 2);
  Arena arena(plan);
  EXPECT_THROW(arena.give(0, 1), Error);
  arena.take(0, 1);
  EXPECT_THROW(arena.take(0, 1), Error);
  arena.give(0, 1);
  EXPECT_THROW(arena.give(0, 1), Error);
  EXPECT_NO_THROW(arena.take(0, 1));
  EXPECT_EQ(arena.peak_bytes(), 256);  // refused calls are not counted
  EXPECT_THROW(arena.take(0, 2), Error);
  EXPECT_THROW(arena.take(0, -1), Error);
  EXPECT_THROW(arena.give(1, 0), Error);
}

TEST(Arena, ThreadsThatFightForOneSlotNeverCountItTwice) {
  ArenaPlan plan;
  plan.add("slot", 256, 1);
  Arena arena(plan);
  const auto fight = [&arena] {
    for (int round = 0; round < 20000;) {
      try {
        arena.take(0, 0);
      } catch (const Error&) {
        std::this_thread::yield();
        ++round;
        continue;
      }
      arena.give(0, 0);
      ++round;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(fight);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(arena.peak_bytes(), 256);
  EXPECT_NO_THROW(arena.take(0, 0));
}

TEST(Arena, ThreadsWithSlotsOfTheirOwnAddUp) {
  ArenaPlan plan;
  plan.add("slots", 256, 4);
  Arena arena(plan);
  std::vector<std::thread> threads;
  for (int slot = 0; slot < 4; ++slot) {
    threads.emplace_back([&arena, slot] {
      for (int round = 0; round < 10000; ++round) {
        arena.take(0, slot);
        arena.give(0, slot);
      }
      arena.take(0, slot);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(arena.peak_bytes(), 1024);
}

TEST(ArenaPlan, RefusesMoreThanCanBeCounted) {
  ArenaPlan plan;
  plan.add("large", std::int64_t{1} << 61, 1);
  EXPECT_THROW(plan.add("more", std::int64_t{1} << 40, 1 << 23), Error);  // 2^63
  EXPECT_THROW(plan.add("more", std::numeric_limits<std::int64_t>::max(), 1), Error);
  EXPECT_THROW(plan.add("as large again", std::int64_t{1} << 61, 2), Error);
  EXPECT_EQ(plan.bytes(), std::int64_t{1} << 61);
}

}  // namespace
}  // namespace stagecoach
