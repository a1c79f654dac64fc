// StepLauncher: runs steps on GPUs. One thread enqueues a step on all ranks' streams; after a few
// steps it captures that into a graph, and from then on a step is one launch, which need not wait
// for the step before.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "core/graph.h"
#include "pipeline/span_recorder.h"
#include "pipeline/step_guard.h"

namespace stagecoach {

// What belongs to steps beside the ranks of this process, where others are in other processes.
struct OtherProcesses {
  std::vector<Stream*> streams;  // of messages
  // How the host waits for an event that others may keep from being reached.
  std::function<void(const Event&)> wait = [](const Event& event) { event.synchronize(); };
  // From the result of this process's part of a step, which may be undefined, that of all of it.
  std::function<StepResult(const StepInput&, const StepResult&)> share =
      [](const StepInput&, const StepResult& own) { return own; };
};

class StepLauncher {
 public:
  // `contexts`: of all ranks; `spans`: their recorders; `last`: the last stage, null in a process
  // without it; `guard`: of the contexts. All of them outlive the launcher. `eager`: never capture.
  StepLauncher(std::vector<Context*> contexts, std::vector<SpanRecorder*> spans, const Stage* last,
               StepGuard& guard, bool eager, OtherProcesses others = {});
  ~StepLauncher();

  int max_in_flight() const { return captures() ? 2 : 1; }
  // Begins a step, behind those in flight. `enqueue` enqueues it on the contexts' streams and
  // leaves its spans in the recorders. The first training steps and evaluations are not captured,
  // and end before this returns. Steps in flight have a batch each. Throws what `enqueue` throws,
  // and the errors of the GPUs.
  void launch(const StepInput& input, const std::function<void()>& enqueue);
  // Waits for the step that was launched first. Its spans are in the recorders then, and its result
  // stays until its batch's memory is launched with again. Throws a NumericError when a loss of a
  // training step was not finite: that step and those behind it, which are dropped, changed no
  // weight.
  StepResult finish();

 private:
  // Before a capture everything must have run once: libraries load their kernels at first use, and
  // may not while a stream is captured.
  static constexpr int kEagerSteps = 2;
  // What the steps need that read one buffer of batches: a graph holds its addresses.
  struct Slot {
    const void *images = nullptr, *targets = nullptr;
    Buffer losses, correct;  // pinned
    std::vector<SpanRecorder> spans;
    std::unique_ptr<Graph> graph;  // last: it records the spans' events
  };
  struct InFlight {
    StepInput input;
    Slot* slot;
    Event end;
  };
  bool captures() const { return !eager_ && steps_ >= kEagerSteps; }
  static bool is_captured(const StepInput& input);
  std::vector<Stream*> streams() const;  // of the contexts, and the others
  Slot& slot_of(const StepInput& input);
  void enqueue_all(Slot& slot, const std::function<void()>& enqueue);
  void begin(const StepInput& input);
  void join_begun();
  void synchronize();
  bool trains() const;  // some step in flight

  std::vector<Context*> contexts_;
  std::vector<SpanRecorder*> spans_;
  const Stage* last_;
  StepGuard& guard_;
  bool eager_;
  const OtherProcesses others_;
  int steps_ = 0;  // of training, launched so far
  std::deque<Slot> slots_;
  std::deque<InFlight> in_flight_;
};

}  // namespace stagecoach
