// Philox4x32-10: randomness as a pure function of a key and a counter.
// Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>

namespace stagecoach {

using PhiloxBlock = std::array<std::uint32_t, 4>;

// Ten rounds of Philox4x32: four random words for one 128-bit counter and one 64-bit key.
constexpr PhiloxBlock philox4x32(PhiloxBlock counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key0,
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key1,
               static_cast<std::uint32_t>(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

// What a random number is for; part of the counter, so that no two uses share numbers.
enum class RandomUse : std::uint32_t {
  kInitialWeights = 1,
  kDropout = 2,
  kShuffle = 3,
  kAugmentation = 4,
  kSyntheticData = 5,
};

// One stream of random numbers: 2^34 elements, each a pure function of this struct and the
// element's index. Element e is word e % 4 of the block of counter (e / 4, sample, step,
// use << 16 | layer) under the key `seed`.
struct RandomStream {
  std::uint64_t seed = 0;
  RandomUse use = RandomUse::kInitialWeights;
  std::uint32_t layer = 0;   // index of the layer in the network, or of the parameter; < 65536
  std::uint32_t step = 0;    // training step, or epoch
  std::uint32_t sample = 0;  // index of the sample in the global batch, or in the data set

  constexpr PhiloxBlock block(std::uint32_t index) const {
    return philox4x32(
        {index, sample, step, static_cast<std::uint32_t>(use) << 16 | (layer & 0xFFFF)},
        static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
  }
  constexpr std::uint32_t word(std::uint64_t element) const {
    return block(static_cast<std::uint32_t>(element / 4))[element % 4];
  }
};

// A word as a float in [0, 1): its upper 24 bits times 2^-24, so every value is exact.
constexpr float uniform01(std::uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f);
}

}  // namespace stagecoach
