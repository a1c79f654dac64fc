// The networks that have a name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "layers/network.h"

namespace stagecoach {

struct NetworkOptions {
  int classes = 10;
  float dropout = 0.5f;       // in [0, 1)
  float label_smoothing = 0;  // of the cross entropy, in [0, 1)
};

struct NetworkEntry {
  std::string_view name;        // "alexnet"
  std::int64_t smallest_image;  // side, in pixels
  std::string_view because;     // why it is the smallest
  Network (*make)(const NetworkOptions& options);
};

// All of them; the first is the default.
std::vector<NetworkEntry> networks();
std::vector<std::string> network_names();

// Throws UsageError for a name that is none, listing them.
const NetworkEntry& network_of(std::string_view name);

}  // namespace stagecoach
