#include "pipeline/stage_reach.h"

#include <algorithm>

namespace stagecoach {
namespace {

constexpr int kNobody = -1;  // of the batch's own memory

// By the stage in whose memory each tensor of a message lies.
using Owners = std::vector<int>;

// Those of the message that `stage` sends when it was sent this one. `copied`: it reads its own
// copies. `own`: whether it makes a tensor itself, instead of handing it on.
template <typename Own>
Owners owners_of(const StageGraph& stage, int number, const std::vector<int>& sent,
                 const std::vector<int>& received, const Owners& owners, bool copied,
                 const Own& own) {
  Owners result;
  for (const int v : sent) {
    if (copied || own(stage.values[v])) {
      result.push_back(number);
      continue;
    }
    const auto place = std::ranges::find(received, v) - received.begin();
    result.push_back(owners[static_cast<std::size_t>(place)]);
  }
  return result;
}

}  // namespace

Reach reach_of(std::span<const StageGraph> stages, const std::vector<bool>& copied) {
  const auto count = static_cast<int>(stages.size());
  const auto copies = [&](int lower) { return lower > 0 && lower < count && copied[lower]; };
  Reach neighbours, reach;
  for (int s = 0; s < count; ++s) {
    neighbours.last_reader.push_back(s + 1);
    neighbours.first_reader.push_back(s - 1);
  }
  reach = neighbours;
  Owners owners(stages.front().received.size(), kNobody);
  for (int s = 0; s < count; ++s) {
    const StageGraph& stage = stages[s];
    for (std::size_t i = 0; i < owners.size() && s > 0; ++i) {
      const bool reads = copies(s) || !stage.values[stage.received[i]].readers.empty();
      if (reads && owners[i] != kNobody) reach.last_reader[owners[i]] = s;
    }
    owners = owners_of(stage, s, stage.sent, stage.received, owners, copies(s),
                       [](const StageValue& value) { return value.maker >= 0; });
  }
  owners.clear();
  for (int s = count - 1; s >= 0; --s) {
    const StageGraph& stage = stages[s];
    for (std::size_t i = 0; i < owners.size(); ++i) {
      const bool reads =
          copies(s + 1) || !stage.values[stage.gradients_received[i]].hands_gradient_on();
      if (reads) reach.first_reader[owners[i]] = s;
    }
    owners = owners_of(stage, s, stage.gradients_sent, stage.gradients_received, owners,
                       copies(s + 1), [](const StageValue& value) { return !value.parts.empty(); });
  }
  const bool far =
      reach.last_reader != neighbours.last_reader || reach.first_reader != neighbours.first_reader;
  return far ? reach : Reach{};
}

}  // namespace stagecoach
