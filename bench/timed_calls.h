// Seconds of one of many calls of an operation, by the GPU's clock.
#pragma once

#include <functional>
#include <memory>

#include "core/context.h"
#include "core/graph.h"

namespace stagecoach {

// The calls are captured once and launched as a graph, which takes the times itself: launching most
// operations takes the host longer than a GPU needs to run them. They follow one another without a
// pause, so what fits into the GPU's L2 cache is read from there by all but the first.
class TimedCalls {
 public:
  // `operation` has run before: libraries load their kernels when they first run.
  TimedCalls(Context& context, const std::function<void()>& operation) : context_(context) {
    Stream* const stream = &context.stream();
    graph_ = Graph::capture({&stream, 1}, [&] {
      stream->record(begin_, EventUse::kTime);
      for (int call = 0; call < kCalls; ++call) operation();
      stream->record(end_, EventUse::kTime);
    });
  }

  double seconds_per_call() {
    graph_->launch(context_.stream());
    context_.stream().synchronize();
    return end_.seconds_since(begin_) / kCalls;
  }

 private:
  static constexpr int kCalls = 20;
  Context& context_;
  Event begin_, end_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace stagecoach
