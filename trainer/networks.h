// The networks that can be asked for by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "layers/network.h"

namespace stagecoach {

struct NetworkEntry {
  std::string_view name;
  Network (*make)(int classes, float dropout);
  int smallest_image;        // height and width
  std::string_view because;  // why it is the smallest
};

// Null where there is none of this name.
const NetworkEntry* find_network(std::string_view name);
std::vector<std::string> network_names();

}  // namespace stagecoach
