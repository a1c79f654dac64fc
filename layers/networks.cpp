#include "layers/networks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "core/error.h"

namespace stagecoach {
namespace {

constexpr NetworkEntry kNetworks[] = {
    // 63 -> conv1 15 -> pool 7 -> pool 3 -> pool 1; 62 leaves nothing for the last pool.
    {"alexnet", 63, "AlexNet's pools leave nothing of an image below 63 x 63",
     [](const NetworkOptions& options) {
       return make_alexnet(options.classes, options.dropout, options.label_smoothing);
     }},
};

}  // namespace

std::vector<NetworkEntry> networks() {
  return {std::begin(kNetworks), std::end(kNetworks)};
}

std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const NetworkEntry& entry : kNetworks) names.emplace_back(entry.name);
  return names;
}

const NetworkEntry& network_of(std::string_view name) {
  const auto* found = std::ranges::find(kNetworks, name, &NetworkEntry::name);
  if (found != std::end(kNetworks)) return *found;
  throw UsageError("network", fmt::format("one of {}", fmt::join(network_names(), ", ")),
                   fmt::format("'{}'", name));
}

}  // namespace stagecoach
