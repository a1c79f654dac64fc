// Executor: walks one rank's actions, waits by events, launches, records the trace. It decides
// nothing: the order is the schedule's.
#pragma once

#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "comm/channel.h"
#include "pipeline/picture/trace.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/schedule.h"
#include "pipeline/schedule/slot_use.h"
#include "pipeline/stage.h"

namespace stagecoach {

// What all stages compute in one step.
struct StepInput {
  Tensor images;  // [M * B, ...]: the first stage takes the micro-batches from it
  Tensor labels;  // I32 [M * B]: the last stage's
  // On a GPU, when images and labels are there; unset: they are.
  std::optional<Event> ready;
  MicroBatch micro;  // seed, step and training; the rest is set for each micro-batch
  // Of a training step; null: none, gradients stay where they are.
  const Optimizer* optimizer = nullptr;
};

// What a step gives of its samples, in the CPU's memory.
struct StepResult {
  Tensor losses;   // F32 [M * B]
  Tensor correct;  // I32 [M * B]: 1 for a right answer
};

// Micro-batch `index` of a step with `rows` samples in each.
MicroBatch micro_batch_of(const StepInput& input, std::int64_t index, std::int64_t rows);

// Times the work of a stream: each span lasts from the mark before it to its own, so nothing that
// happens on the stream is left out.
class SpanRecorder {
 public:
  explicit SpanRecorder(int rank) : rank_(rank) {}
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
  Event start_;
  std::vector<Span> spans_;
};

// A stage and its channels to neighbours on other ranks; null where there is none.
struct LinkedStage {
  Stage* stage = nullptr;
  Channel* activations_in = nullptr;
  Channel* activations_out = nullptr;
  Channel* gradients_in = nullptr;
  Channel* gradients_out = nullptr;
};

class Executor {
 public:
  // `stages`: those of this rank, by their number in the pipeline; all on one context.
  Executor(int rank, std::map<int, LinkedStage> stages);

  // Runs this rank's part of one step and returns when it is done. `schedule`: with communication,
  // checked against `buffers`. Throws the first error of the rank, with the action that it struck
  // (a NumericError as it is); the channels are aborted with it when the walk itself failed. Errors
  // of the stream reach the other ranks along events.
  void run(const Schedule& schedule, const BufferCounts& buffers, const StepInput& input);

  // When run() failed: of several ranks, the first one names the cause.
  Clock::time_point failed_at() const { return failed_at_; }

  // The parts of run() but for the waiting, for a caller that walks all ranks' actions on one
  // thread, each after what it depends on.
  void begin(const Schedule& schedule);
  void act(const Schedule& schedule, const BufferCounts& buffers, const StepInput& input,
           const Action& action);
  // An error of act(), with the action that it struck.
  std::exception_ptr located_here(const std::exception_ptr& error) const;
  SpanRecorder& spans() { return spans_; }

  // Of the last run.
  std::vector<TraceEvent> trace(Clock::time_point origin, std::int64_t step) const {
    return spans_.events(origin, step);
  }

 private:
  struct Step;  // the arguments of run()
  void abort_channels(const std::exception_ptr& error);
  void walk(const Step& step);
  void run_action(const Step& step, const Action& action);
  void forward(const Step& step, const Action& action, const LinkedStage& linked);
  void recompute(const Step& step, const Action& action, const LinkedStage& linked);
  Tensor output_grad(const Step& step, const Action& action, const LinkedStage& linked);
  void backward_input(const Step& step, const Action& action, const LinkedStage& linked);
  void backward_weight(const Step& step, const Action& action, const LinkedStage& linked);
  void backward(const Step& step, const Action& action, const LinkedStage& linked);
  void end_backward(const Action& action, const LinkedStage& linked);
  void optimizer_step(const Step& step, const Action& action, const LinkedStage& linked);
  void send(Channel& channel, const Tensor& message, const Action& action);
  void release(Channel* channel, const Action& action);
  void await(Channel& channel, const Action& action);
  void wait_released(Channel* channel, const Action& action, int message);
  void end_span(TraceKind kind, const Action& action) {
    spans_.end_span(stream_, kind, action.stage, action.micro_batch);
  }

  int rank_;
  std::map<int, LinkedStage> stages_;
  Stream& stream_;
  SpanRecorder spans_;
  Action current_;  // of the walk
  Clock::time_point failed_at_;
  std::optional<SlotUse> slot_use_;  // of the schedule that runs
};

}  // namespace stagecoach
