#include "pipeline/picture/timeline.h"

#include <algorithm>

namespace stagecoach {
Timeline timeline_of(const Simulation& simulation, const std::string& title) {
  Timeline timeline{title, {}, static_cast<int>(simulation.busy.size())};
  for (const SimulatedAction& one : simulation.actions) {
    if (!is_compute(one.action.kind)) continue;
    const TraceKind kind = traits_of(one.action.kind).trace;
    timeline.events.push_back(
        {kind, one.rank, one.action.stage, one.action.micro_batch, 0, one.start, one.end});
  }
  return timeline;
}

Timeline timeline_of(const Simulation& simulation, const SimulationCosts& costs,
                     const std::string& title) {
  const Timeline joint = timeline_of(simulation, title);
  Timeline timeline{title, {}, joint.ranks};
  for (TraceEvent event : joint.events) {
    if (event.kind == TraceKind::kBackward) {
      const StageCosts& stage = costs.stages[event.stage];
      const auto part = [&](TraceKind kind, double seconds) {
        TraceEvent one = event;
        one.kind = kind;
        event.start = one.end = event.start + seconds;
        if (seconds > 0) timeline.events.push_back(one);
      };
      part(TraceKind::kBackwardInput, stage.backward_input);
      part(TraceKind::kRecompute, stage.recompute_in_backward);
      event.kind = TraceKind::kBackwardWeight;
    }
    timeline.events.push_back(event);
  }
  return timeline;
}

std::vector<TraceCounter> slot_counters(const Program& program, const Simulation& simulation,
                                        const SimulationCosts& costs) {
  const auto has_bytes = [](const StageCosts& stage) { return stage.slot_bytes != 1; };
  const bool bytes = std::ranges::any_of(costs.stages, has_bytes);
  const SlotUse& use = program.slots();
  std::vector<TraceCounter> counters;
  std::vector<int> slots(simulation.busy.size());
  std::vector<double> in_use(simulation.busy.size());
  const auto add = [&](const SimulatedAction& one, double time, int change) {
    slots[one.rank] += change;
    in_use[one.rank] += change * costs.stages[one.action.stage].slot_bytes;
    counters.push_back({"slots", one.rank, time, static_cast<double>(slots[one.rank])});
    if (bytes) counters.push_back({"slot bytes", one.rank, time, in_use[one.rank]});
  };
  for (const SimulatedAction& one : simulation.actions) {
    if (SlotUse::takes(one.action)) add(one, one.start, 1);
    if (use.gives(one.action)) add(one, one.end, -1);
  }
  return counters;
}

}  // namespace stagecoach
