// BatchView: the tensors of one training step or evaluation. Who makes them keeps their memory.
#pragma once

#include <cstdint>
#include <optional>

#include "core/stream.h"
#include "core/tensor.h"

namespace stagecoach {

struct BatchView {
  Tensor inputs;               // [samples, ...]
  Tensor targets;              // [samples, ...]: classes, I32 [samples]
  std::optional<Event> ready;  // on a GPU: reached when they are there
  std::int64_t count = -1;     // samples filled, from the front; -1: all
};

}  // namespace stagecoach
