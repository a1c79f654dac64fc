// How the layers write sizes in their descriptions.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace stagecoach {

// "4" for equal sides, else "4x3".
inline std::string sides(std::int64_t h, std::int64_t w) {
  return h == w ? fmt::format("{}", h) : fmt::format("{}x{}", h, w);
}

// ", padding 2", or nothing when there is none.
inline std::string padding_text(std::int64_t h, std::int64_t w) {
  return h == 0 && w == 0 ? "" : ", padding " + sides(h, w);
}

}  // namespace stagecoach
