#include "kernels/cpu/philox_words.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/philox_words.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {

void philox_words(const RandomStream& stream, std::uint32_t first_block, std::uint32_t* words) {
  // Words of the counters, each in the 64 bits that its products need: lanes never change width.
  std::uint64_t c0[kPhiloxBlocks], c1[kPhiloxBlocks], c2[kPhiloxBlocks], c3[kPhiloxBlocks];
  for (std::int64_t i = 0; i < kPhiloxBlocks; ++i) {
    c0[i] = first_block + static_cast<std::uint32_t>(i);
    c1[i] = stream.sample;
    c2[i] = stream.step;
    c3[i] = static_cast<std::uint32_t>(stream.use) << 16 | (stream.layer & 0xFFFF);
  }
  auto key0 = static_cast<std::uint32_t>(stream.seed);
  auto key1 = static_cast<std::uint32_t>(stream.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (std::int64_t i = 0; i < kPhiloxBlocks; ++i) {
      const std::uint64_t product0 = std::uint64_t{0xD2511F53} * (c0[i] & 0xFFFFFFFF);
      const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * (c2[i] & 0xFFFFFFFF);
      c0[i] = product1 >> 32 ^ c1[i] ^ key0;
      c1[i] = product1 & 0xFFFFFFFF;
      c2[i] = product0 >> 32 ^ c3[i] ^ key1;
      c3[i] = product0 & 0xFFFFFFFF;
    }
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  for (std::int64_t i = 0; i < kPhiloxBlocks; ++i) {
    words[4 * i] = static_cast<std::uint32_t>(c0[i]);
    words[4 * i + 1] = static_cast<std::uint32_t>(c1[i]);
    words[4 * i + 2] = static_cast<std::uint32_t>(c2[i]);
    words[4 * i + 3] = static_cast<std::uint32_t>(c3[i]);
  }
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(philox_words);

void philox_words(const RandomStream& stream, std::uint32_t first_block, std::uint32_t* words) {
  HWY_DYNAMIC_DISPATCH(philox_words)(stream, first_block, words);
}

}  // namespace stagecoach::cpu
#endif
