// Timelines: what is drawn, of a run or of a simulation.
#pragma once

#include <string>
#include <vector>

#include "pipeline/picture/trace.h"
#include "pipeline/schedule/simulate.h"

namespace stagecoach {

// Rows of boxes in a picture.
struct Timeline {
  std::string title;               // above its rows: "measured, step 12", "predicted"
  std::vector<TraceEvent> events;  // start and end in seconds; drawn from the earliest start on
  int ranks = 0;
};

// The timeline of a simulation with these costs; BW as its B and its W, as a run measures them.
Timeline timeline_of(const Simulation& simulation, const SimulationCosts& costs,
                     const std::string& title);
// BW in one piece, as the papers draw it.
Timeline timeline_of(const Simulation& simulation, const std::string& title);

// The slots in use on each rank over time, "slots", of a simulation of `program` with its actions;
// from the start of F or R to the end of W. Where slots have bytes, as costs that differ from 1
// say, also "slot bytes".
std::vector<TraceCounter> slot_counters(const Program& program, const Simulation& simulation,
                                        const SimulationCosts& costs);

}  // namespace stagecoach
