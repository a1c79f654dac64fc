#include "pipeline/span_recorder.h"

#include <chrono>

#include "core/error.h"

namespace stagecoach {

std::string place_of(int stage, std::string_view kind, int micro_batch) {
  std::string text = fmt::format("stage {}, {}", stage, kind);
  return micro_batch < 0 ? text : text + fmt::format(" of micro-batch {}", micro_batch);
}

void SpanRecorder::begin(Stream& stream) {
  spans_.clear();
  start_ = Event();
  stream.record(start_, EventUse::kTime);
}

void SpanRecorder::end_span(Stream& stream, TraceKind kind, int stage, int micro_batch) {
  spans_.push_back({kind, stage, micro_batch, Event()});
  stream.record(spans_.back().end, EventUse::kTime);
}

SpanRecorder::Failure SpanRecorder::first_failure() const {
  for (const Span& span : spans_) {
    try {
      span.end.synchronize();
    } catch (...) {
      return {place_of(span.stage, name_of(span.kind), span.micro_batch), span.end.time()};
    }
  }
  return {"between two steps", Clock::now()};
}

std::vector<TraceEvent> SpanRecorder::events(Clock::time_point origin, std::int64_t step) const {
  using Seconds = std::chrono::duration<double>;
  std::vector<TraceEvent> events;
  if (spans_.empty()) return events;
  double start = Seconds(start_.time() - origin).count();
  for (const Span& span : spans_) {
    const double end = Seconds(span.end.time() - origin).count();
    events.push_back({span.kind, rank_, span.stage, span.micro_batch, step, start, end, beside_});
    start = end;
  }
  return events;
}

}  // namespace stagecoach
