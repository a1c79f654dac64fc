// Trace: what each rank did and when; and the pictures and files made from it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pipeline/schedule/schedule.h"
#include "pipeline/schedule/simulate.h"

namespace stagecoach {

enum class TraceKind : std::uint8_t {
  kForward,
  kBackwardInput,
  kBackwardWeight,
  kBackward,  // both at once, where they are one box
  kRecompute,
  kSend,
  kReceive,
  kWait,
  kOptimizer,
};
// "F", "B", "W", "BW", "R", "send", "receive", "wait", "optimizer".
std::string_view name_of(TraceKind kind);

struct TraceEvent {
  TraceKind kind = TraceKind::kForward;
  int rank = 0;
  int stage = 0;
  int micro_batch = -1;  // -1: belongs to none
  std::int64_t step = 0;
  double start = 0, end = 0;  // seconds since the start of the training
};

// A number that changes over time, of one rank.
struct TraceCounter {
  const char* name = "";  // "slots"
  int rank = 0;
  double time = 0;   // seconds, as of the events
  double value = 0;  // from then on
};

// Chrome trace format (chrome://tracing, ui.perfetto.dev): one row per rank, complete events in
// microseconds with stage, micro-batch and step as arguments; a row of its own for the counter of
// each name and rank. Throws Error naming the file when it cannot be written; nothing half-written
// is left.
void write_chrome_trace(const std::filesystem::path& file, const std::vector<TraceEvent>& events,
                        const std::string& title, const std::vector<TraceCounter>& counters = {});

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

// The slots in use on each rank over time, "slots", of a simulation of `schedule` with its actions;
// from the start of F or R to the end of W. Where slots have bytes, as costs that differ from 1
// say, also "slot bytes".
std::vector<TraceCounter> slot_counters(const Schedule& schedule, const Simulation& simulation,
                                        const SimulationCosts& costs);

struct PictureOptions {
  double width = 1000;             // pixels
  std::string axis = "time (ms)";  // what stands below it
  double units_per_second = 1e3;   // of its numbers
};

// SVG as in the papers: a row per rank, numbered boxes for F, B, W and R in colours, the boxes of a
// rank's later stages lighter, idle time blank, a time axis, a legend; several timelines below each
// other on one scale.
std::string draw_svg(const std::vector<Timeline>& timelines, const std::string& caption,
                     const PictureOptions& options = {});
// The width at which most boxes of `timeline` have room for their numbers, from 1000 to `widest`.
double picture_width(const Timeline& timeline, double widest);

struct AsciiPicture {
  std::string text;     // a line for each rank
  double column = 0;    // the time of a column, or of a character where scaled
  bool scaled = false;  // the costs have no common step, or a too small one
  bool cut_columns = false, cut_ranks = false;  // the picture shows the beginning only
};
// As in the comments of pipeline/schedule/generators: columns of equal time, "F0 F1 .  BW0--", '.'
// for idle ones, '-' where an action goes on; where a rank holds several stages, "0F3". Actions
// that take no time, or less than a character, are not drawn. For a simulation with its actions.
AsciiPicture draw_ascii(const Simulation& simulation, std::size_t most_characters,
                        std::size_t most_ranks);

}  // namespace stagecoach
