// Trace: what each rank did and when; and the pictures and files made from it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pipeline/schedule.h"
#include "pipeline/simulate.h"

namespace stagecoach {

enum class TraceKind : std::uint8_t {
  kForward,
  kBackwardInput,
  kBackwardWeight,
  kRecompute,
  kSend,
  kReceive,
  kWait,
  kOptimizer,
};
// "F", "B", "W", "R", "send", "receive", "wait", "optimizer".
std::string_view name_of(TraceKind kind);

struct TraceEvent {
  TraceKind kind = TraceKind::kForward;
  int rank = 0;
  int stage = 0;
  int micro_batch = -1;  // -1: belongs to none
  std::int64_t step = 0;
  double start = 0, end = 0;  // seconds since the start of the training
};

// Chrome trace format (chrome://tracing, ui.perfetto.dev): one row per rank, complete events in
// microseconds with stage, micro-batch and step as arguments. Throws Error naming the file when it
// cannot be written; nothing half-written is left.
void write_chrome_trace(const std::filesystem::path& file, const std::vector<TraceEvent>& events,
                        const std::string& title);

// One row of boxes in a picture.
struct Timeline {
  std::string title;               // above its rows: "measured, step 12", "predicted"
  std::vector<TraceEvent> events;  // start and end in seconds; drawn from the earliest start on
  int ranks = 0;
};

// The timeline of a simulation with these costs; BW as its B and its W.
Timeline timeline_of(const Simulation& simulation, const SimulationCosts& costs,
                     const std::string& title);

// SVG as in the papers: a row per rank, numbered boxes for F, B, W in three colours, idle time
// blank, a time axis in milliseconds, a legend; several timelines below each other on one scale.
std::string draw_svg(const std::vector<Timeline>& timelines, const std::string& caption);

}  // namespace stagecoach
