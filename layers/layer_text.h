// How the layers write sizes in their descriptions, and ask for their inputs.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

#include "core/error.h"
#include "layers/layer.h"

namespace stagecoach {

// "4" for equal sides, else "4x3".
inline std::string sides(std::int64_t h, std::int64_t w) {
  return h == w ? fmt::format("{}", h) : fmt::format("{}x{}", h, w);
}

// ", padding 2", or nothing when there is none.
inline std::string padding_text(std::int64_t h, std::int64_t w) {
  return h == 0 && w == 0 ? "" : ", padding " + sides(h, w);
}

// The input of a layer that has one. Error naming the layer when there are others.
inline const TensorSpec& single_input(const Layer& layer, std::span<const TensorSpec> inputs) {
  STAGECOACH_CHECK(inputs.size() == 1, layer.describe(), "1 input",
                   fmt::format("{}", inputs.size()));
  return inputs[0];
}

}  // namespace stagecoach
