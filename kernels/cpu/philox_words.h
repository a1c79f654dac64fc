// Philox in bulk: the words of a RandomStream, many blocks at a time.
#pragma once

#include "core/philox.h"

namespace stagecoach::cpu {

inline constexpr std::int64_t kPhiloxBlocks = 16;
inline constexpr std::int64_t kPhiloxWords = 4 * kPhiloxBlocks;

// words[i] = stream.word(4 * first_block + i) for i in [0, kPhiloxWords). The blocks go through
// the rounds side by side, so that the compiler vectorises each step.
void philox_words(const RandomStream& stream, std::uint32_t first_block, std::uint32_t* words);

}  // namespace stagecoach::cpu
