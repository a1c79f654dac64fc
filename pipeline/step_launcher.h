// StepLauncher: runs steps on GPUs. One thread enqueues a step on all ranks' streams; after a few
// steps it captures that into a graph, and from then on a step is one launch.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/graph.h"
#include "pipeline/executor.h"

namespace stagecoach {

class StepLauncher {
 public:
  // `contexts`: of all ranks; they outlive the launcher. `eager`: never capture.
  StepLauncher(std::vector<Context*> contexts, bool eager);
  ~StepLauncher();

  // Runs one step and waits for it. `enqueue` enqueues it on the contexts' streams and leaves its
  // spans, one recorder for each rank, in `spans`; a captured step puts those of its capture there.
  // Evaluations are never captured. Throws what `enqueue` throws, and the errors of the GPUs.
  void run(const StepInput& input, const std::function<void()>& enqueue,
           const std::vector<SpanRecorder*>& spans);

  // Throws a NumericError when a loss of the step was not finite; `last` is the last stage.
  void check_losses(const Stage& last, const StepInput& input, int micro_batches) const;

 private:
  // A graph holds the addresses of its batch: one for each buffer that batches arrive in.
  struct Captured {
    const void* images = nullptr;
    std::vector<SpanRecorder> spans;
    std::unique_ptr<Graph> graph;  // last: it records the spans' events
  };
  const Captured& captured(const StepInput& input, const std::function<void()>& enqueue,
                           const std::vector<SpanRecorder*>& spans);
  void begin_steps(const StepInput& input);
  void join_begun();

  std::vector<Context*> contexts_;
  bool eager_;
  int steps_ = 0;  // trained so far
  Buffer failure_flag_;
  std::vector<Captured> captured_;
};

}  // namespace stagecoach
