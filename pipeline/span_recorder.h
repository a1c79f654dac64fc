// SpanRecorder: what happened on a stream, and when.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/stream.h"
#include "pipeline/picture/trace.h"

namespace stagecoach {

// "stage 1, F of micro-batch 3"; without one where that is below 0.
std::string place_of(int stage, std::string_view kind, int micro_batch);

// Times the work of a stream: each span lasts from the mark before it to its own, so nothing that
// happens on the stream is left out.
class SpanRecorder {
 public:
  // `beside`: of a stream beside the rank's own.
  explicit SpanRecorder(int rank, bool beside = false) : rank_(rank), beside_(beside) {}
  // Forgets all spans and marks the start of the step.
  void begin(Stream& stream);
  // What was enqueued since the last mark was `kind`.
  void end_span(Stream& stream, TraceKind kind, int stage, int micro_batch);
  struct Failure {
    std::string place;  // "stage 1, F of micro-batch 3"
    Clock::time_point time;
  };
  // The first span at whose end the stream had failed; now, when there is none.
  Failure first_failure() const;
  // In seconds since `origin`. Blocks until the stream has reached the last mark.
  std::vector<TraceEvent> events(Clock::time_point origin, std::int64_t step) const;

 private:
  struct Span {
    TraceKind kind;
    int stage, micro_batch;
    Event end;
  };
  int rank_;
  bool beside_;
  Event start_;
  std::vector<Span> spans_;
};

}  // namespace stagecoach
