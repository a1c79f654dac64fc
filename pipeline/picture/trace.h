// Trace: what each rank did and when, and the file made from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/schedule/action.h"

namespace stagecoach {

// "F", "B", "W", "BW", "R", "send", "receive", "wait", "optimizer",
// "reduce".
std::string_view name_of(TraceKind kind);

struct TraceEvent {
  TraceKind kind = TraceKind::kForward;
  int rank = 0;
  int stage = 0;
  int micro_batch = -1;  // -1: belongs to none
  std::int64_t step = 0;
  double start = 0, end = 0;  // seconds since the start of the training
  bool beside = false;        // on a stream beside that of the rank
};

// Whether it has a row of its own, as it is, or may be, beside the rank's own work.
inline bool has_own_row(const TraceEvent& event) {
  return event.beside || event.kind == TraceKind::kReduce;
}

// A number that changes over time, of one rank.
struct TraceCounter {
  const char* name = "";  // "slots"
  int rank = 0;
  double time = 0;   // seconds, as of the events
  double value = 0;  // from then on
};

// Chrome trace format (chrome://tracing, ui.perfetto.dev): one row per rank and, where there
// is some, one for what runs beside it, complete events in microseconds with stage, micro-batch and
// step as arguments; a row of its own for the counter of each name and rank. Throws Error naming
// the file when it cannot be written; nothing half-written is left.
void write_chrome_trace(const std::filesystem::path& file, const std::vector<TraceEvent>& events,
                        const std::string& title, const std::vector<TraceCounter>& counters = {});

}  // namespace stagecoach
