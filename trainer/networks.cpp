#include "trainer/networks.h"

#include <algorithm>

namespace stagecoach {
namespace {

constexpr NetworkEntry kNetworks[] = {
    // 63 -> conv1 15 -> pool 7 -> pool 3 -> pool 1; 62 leaves nothing for the last pool.
    {"alexnet", make_alexnet, 63, "AlexNet's pools leave nothing of an image below 63 x 63"},
};

}  // namespace

const NetworkEntry* find_network(std::string_view name) {
  const auto* found = std::ranges::find(kNetworks, name, &NetworkEntry::name);
  return found == std::end(kNetworks) ? nullptr : found;
}

std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const NetworkEntry& network : kNetworks) names.emplace_back(network.name);
  return names;
}

}  // namespace stagecoach
