#include "pipeline/message_order.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace stagecoach {
namespace {

constexpr double kTick = 1e-9;  // so that no rounding puts them in the wrong order again

// A message, by the stage that reads it: an activation, or a gradient.
using Message = std::tuple<bool, int, int>;

// Which messages the sends and receives of a trace are of: the events do not say it, but their
// order does. An activation comes before F and leaves before B, a gradient comes after F and leaves
// after B.
class Messages {
 public:
  explicit Messages(const std::vector<TraceEvent>& events) {
    for (const TraceEvent& event : events) add(event);
  }

  // visit(sent, received)
  template <typename Visit>
  void each(Visit visit) const {
    for (const auto& [message, received] : received_) {
      const auto sent = sent_.find(message);
      if (sent != sent_.end()) visit(*sent->second, *received);
    }
  }

 private:
  void add(const TraceEvent& event) {
    const std::pair<int, int> place{event.stage, event.micro_batch};
    switch (event.kind) {
      case TraceKind::kForward:
        forward_.insert(place);
        break;
      case TraceKind::kBackwardInput:
        backward_.insert(place);
        break;
      case TraceKind::kReceive:
        received_[{forward_.contains(place), event.stage, event.micro_batch}] = &event;
        break;
      case TraceKind::kSend: {
        const bool gradient = backward_.contains(place);
        sent_[{gradient, event.stage + (gradient ? -1 : 1), event.micro_batch}] = &event;
        break;
      }
      default:
        break;
    }
  }

  std::set<std::pair<int, int>> forward_, backward_;  // stages and micro-batches that have begun
  std::map<Message, const TraceEvent*> sent_, received_;
};

}  // namespace

void keep_messages_in_order(std::vector<TraceEvent>& events,
                            const std::vector<int>& machine_of_rank) {
  const auto machine_of = [&](const TraceEvent& event) {
    return machine_of_rank[static_cast<std::size_t>(event.rank)];
  };
  // From one machine to another: by how much a send ends after its receive at most.
  std::map<std::pair<int, int>, double> late;
  Messages(events).each([&](const TraceEvent& sent, const TraceEvent& received) {
    const int from = machine_of(sent), to = machine_of(received);
    if (from == to) return;
    const double by = sent.end - received.end;
    const auto [found, is_new] = late.emplace(std::pair{from, to}, by);
    found->second = std::max(found->second, by);
  });
  // Longest paths: a machine that is moved may have to move others.
  const int machines = machine_of_rank.empty() ? 0 : 1 + std::ranges::max(machine_of_rank);
  std::vector<double> moved(static_cast<std::size_t>(machines), 0.0);
  for (int round = 0; round < machines; ++round) {
    for (const auto& [pair, by] : late) {
      double& receiver = moved[static_cast<std::size_t>(pair.second)];
      const double needed = moved[static_cast<std::size_t>(pair.first)] + by;
      if (needed > receiver) receiver = needed + kTick;
    }
  }
  for (TraceEvent& event : events) {
    const double by = moved[static_cast<std::size_t>(machine_of(event))];
    event.start += by;
    event.end += by;
  }
}

}  // namespace stagecoach
