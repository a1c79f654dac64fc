#include "core/philox.h"

#include <gtest/gtest.h>

#include <set>

namespace stagecoach {
namespace {

// Known answers of Random123 (tests/kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0, 0),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, kOnes, kOnes),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

static_assert(philox4x32({0, 0, 0, 0}, 0, 0)[0] == 0x6627e8d5, "it works at compile time too");

TEST(RandomStream, WordsAreThoseOfTheDocumentedCounter) {
  const RandomStream stream{0x123456789abcdef0, RandomUse::kDropout, 17, 5, 99};
  for (std::uint64_t element : {0ull, 1ull, 6ull, 4000000003ull}) {
    const PhiloxBlock block = philox4x32(
        {static_cast<std::uint32_t>(element / 4), 99, 5, 2u << 16 | 17}, 0x9abcdef0, 0x12345678);
    EXPECT_EQ(stream.word(element), block[element % 4]);
  }
}

TEST(RandomStream, EveryFieldMatters) {
  RandomStream base{1, RandomUse::kDropout, 2, 3, 4};
  std::set<std::uint32_t> words = {base.word(0), base.word(1), base.word(4)};
  for (int field = 0; field < 6; ++field) {
    RandomStream other = base;
    if (field == 0) other.seed += 1;
    if (field == 1) other.seed += std::uint64_t{1} << 32;
    if (field == 2) other.use = RandomUse::kShuffle;
    if (field == 3) other.layer += 1;
    if (field == 4) other.step += 1;
    if (field == 5) other.sample += 1;
    words.insert(other.word(0));
  }
  EXPECT_EQ(words.size(), 9u);
}

TEST(Uniform01, IsBelowOneAndExact) {
  EXPECT_EQ(uniform01(0), 0.0f);
  EXPECT_EQ(uniform01(0x80000000), 0.5f);
  EXPECT_EQ(uniform01(0xff), 0.0f);
  EXPECT_LT(uniform01(0xffffffff), 1.0f);
  EXPECT_EQ(uniform01(0xffffffff), 1.0f - 1.0f / 16777216.0f);
}

TEST(Uniform01, HasTheMeanAndVarianceOfTheUniformDistribution) {
  const RandomStream stream{1138};
  constexpr int kCount = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = uniform01(stream.word(static_cast<std::uint64_t>(i)));
    sum += value;
    squares += value * value;
  }
  const double mean = sum / kCount;
  EXPECT_NEAR(mean, 0.5, 0.005);  // 5 standard errors
  EXPECT_NEAR(squares / kCount - mean * mean, 1.0 / 12, 0.002);
}

}  // namespace
}  // namespace stagecoach
