// What a request's numbers must be, in the words of its options.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"

namespace stagecoach {

inline constexpr const char* kTrain = "stagecoach train";
// Far beyond any use; it keeps products of sizes within 64 bits.
inline constexpr std::int64_t kMany = 65536;

inline void check_range(const char* option, std::int64_t value, std::int64_t low, std::int64_t high,
                        std::string_view hint = "") {
  if (value >= low && value <= high) return;
  throw UsageError(kTrain,
                   value < low ? fmt::format("{} of at least {}", option, low)
                               : fmt::format("{} of at most {}", option, high),
                   fmt::format("{}", value), std::string(hint));
}

}  // namespace stagecoach
