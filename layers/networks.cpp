#include "layers/networks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "core/error.h"

namespace stagecoach {
namespace {

constexpr NetworkEntry kNetworks[] = {
    // 63 -> conv1 15 -> pool 7 -> pool 3 -> pool 1; 62 leaves nothing for the last pool.
    {"alexnet", "AlexNet", 63,
     [](const NetworkOptions& options) { return make_alexnet(options.classes, options.dropout); }},
};

}  // namespace

std::vector<NetworkEntry> networks() {
  return {std::begin(kNetworks), std::end(kNetworks)};
}

const NetworkEntry& network_of(std::string_view name) {
  const auto* found = std::ranges::find(kNetworks, name, &NetworkEntry::name);
  if (found != std::end(kNetworks)) return *found;
  std::vector<std::string_view> names;
  for (const NetworkEntry& entry : kNetworks) names.push_back(entry.name);
  throw UsageError("network", fmt::format("one of {}", fmt::join(names, ", ")),
                   fmt::format("'{}'", name));
}

}  // namespace stagecoach
