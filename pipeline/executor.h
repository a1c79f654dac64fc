// Executor: walks one rank's actions, waits by events, launches, records the trace. It decides
// nothing: the order is the schedule's.
#pragma once

#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "comm/channel.h"
#include "comm/rendezvous.h"
#include "comm/watch.h"
#include "pipeline/gradient_clip.h"
#include "pipeline/norm_exchange.h"
#include "pipeline/replica_sum.h"
#include "pipeline/schedule/program.h"
#include "pipeline/span_recorder.h"
#include "pipeline/stage.h"
#include "pipeline/step_input.h"

namespace stagecoach {

// The channels, of one direction, between a stage and the replicas of a neighbour.
struct LinkedChannels {
  LinkedChannels() = default;
  LinkedChannels(Channel* one) : channels{one} {}  // for all micro-batches
  // One for each `span` micro-batches of the step; null for those that have none.
  std::vector<Channel*> channels;
  int span = std::numeric_limits<int>::max();

  Channel* of(int micro_batch) const {
    return channels.empty() || micro_batch < 0 ? nullptr : channels[micro_batch / span];
  }
};

// A stage and its channels to neighbours on other ranks.
struct LinkedStage {
  Stage* stage = nullptr;
  // The table's micro-batch that is the stage's first: not 0 in replicas that are in the table.
  int first_micro_batch = 0;
  // The number of one of the table's among the stage's.
  int own(int micro_batch) const { return micro_batch - first_micro_batch; }
  LinkedChannels activations_in, activations_out, gradients_in, gradients_out;
  // Stages of other ranks that are no neighbours, but read what this one made (Reach): channels
  // without messages, by which they say that they have. F, or B, waits before it writes there
  // again.
  std::vector<Channel*> output_readers, gradient_readers;
  // The other ends: of stages whose outputs, or gradients, this one has read when its W ends.
  std::vector<Channel*> output_makers, gradient_makers;
  // Where gradients are clipped: by which this stage says that its norm is there, and, on the first
  // stage of a rank, by which those of other ranks do.
  std::vector<Channel*> norm_readers, norm_makers;
  // Likewise on the first stage of a rank, where the other ranks are processes; instead of those.
  NormExchange* norms = nullptr;
  // Where the stage has replicas: how many, which this is, and how their gradients are added.
  int replicas = 1, replica = 0;
  // Whether it measures its gradients' norm, which is the same in all replicas that are in a table.
  bool measures_norm = true;
  ReplicaSum* sum = nullptr;
  // Where they are added beside W of other layers, and on a GPU, unless they are clipped,
  // parameters updated; the same for all stages of a rank. Null: all of that is done on the stage's
  // own context, behind its last W.
  Context* side = nullptr;
};

class Executor {
 public:
  // `stages`: those of this rank, by their number in the pipeline; all on one context. `clip`, by
  // which gradients are clipped, outlives the executor; null: they are not.
  // `watch`: is told each action when a CPU's stream comes to it, and when that waits for others;
  // null: nobody is.
  Executor(int rank, std::map<int, LinkedStage> stages, const GradientClip* clip = nullptr,
           Watch* watch = nullptr);

  // Runs this rank's part of one step and returns when it is done. `program`: with communication.
  // Throws the first error of the rank, with the action that it struck; the channels are aborted
  // with it when the walk itself failed. Errors of the stream reach the other ranks along events.
  void run(const Program& program, const StepInput& input);

  // The same without waiting for the stream. Throws what the walk does, with the action; aborts
  // nothing.
  void enqueue(const Program& program, const StepInput& input);

  // When run() failed: of several ranks, the first one names the cause.
  Clock::time_point failed_at() const { return failed_at_; }

  // Of the rank, and where something runs beside it of that.
  std::vector<SpanRecorder*> spans();

  // Of the last run.
  std::vector<TraceEvent> trace(Clock::time_point origin, std::int64_t step) const;

 private:
  friend void enqueue_step(const Program& program,
                           const std::vector<std::unique_ptr<Executor>>& executors,
                           Rendezvous& ranks, const StepInput& input);
  struct Step;  // the arguments of act()
  void begin();
  void act(const Program& program, const StepInput& input, const Action& action);
  // An error of act(), with the action that it struck.
  std::exception_ptr located_here(const std::exception_ptr& error) const;
  void abort_channels(const std::exception_ptr& error);
  void abort_sums(const std::exception_ptr& error);
  // Whether the step's parameters are updated beside the stream.
  bool updates_beside(const StepInput& input) const;
  void reset_streams();
  void run_action(const Step& step, const Action& action);
  void forward(const Step& step, const Action& action, const LinkedStage& linked);
  void recompute(const Step& step, const Action& action, const LinkedStage& linked);
  std::vector<Tensor> inputs(const Step& step, const Action& action, const LinkedStage& linked);
  std::vector<Tensor> output_grads(const Step& step, const Action& action,
                                   const LinkedStage& linked);
  void backward_input(const Step& step, const Action& action, const LinkedStage& linked);
  void backward_weight(const Step& step, const Action& action, const LinkedStage& linked);
  void backward(const Step& step, const Action& action, const LinkedStage& linked);
  void end_backward(const Action& action, const LinkedStage& linked);
  Context& begin_beside(const Action& action, const LinkedStage& linked);
  void end_side_span(TraceKind kind, const Action& action);
  void wait_for_side(const Action& action);
  // Enqueue the sum of a bucket of gradients, or the gathering of its parameters.
  void sum_bucket(Context& context, const Action& action, const LinkedStage& linked, int bucket);
  void gather_bucket(Context& context, const Action& action, const LinkedStage& linked, int bucket);
  Stage::Completed beside(const Step& step, const Action& action, const LinkedStage& linked);
  void reduce_gradients(const Action& action, const LinkedStage& linked);
  void update(const Step& step, const Action& action, const LinkedStage& linked);
  void optimizer_step(const Step& step, const Action& action, const LinkedStage& linked);
  // After the table, whose last W may come behind a STEP: waits for what runs beside the stream,
  // and makes the steps that had to wait for the norm.
  void end_table(const Step& step);
  void send(Channel& channel, std::span<const Tensor> message, const Action& action);
  void release(Channel* channel, const Action& action);
  void release_all(const std::vector<Channel*>& channels, const Action& action);
  // For the watch: what is enqueued between true and false waits for others.
  void set_waiting(bool waiting);
  std::vector<Tensor> await(Channel& channel, const Action& action);
  void wait_released(Channel* channel, const Action& action, int message);
  void end_span(TraceKind kind, const Action& action) {
    spans_.end_span(stream_, kind, action.stage, action.micro_batch);
  }

  int rank_;
  std::map<int, LinkedStage> stages_;
  Stream& stream_;
  Context* const side_;  // see LinkedStage
  SpanRecorder spans_, side_spans_;
  const GradientClip* clip_;
  Watch* watch_;
  std::set<int> reduced_;        // stages whose gradients are those of all replicas
  std::vector<Action> clipped_;  // STEPs of this step whose gradients were measured
  Action current_;               // of the walk
  Clock::time_point failed_at_;
};

// The same for all ranks, on the calling thread, each action after what it depends on; returns when
// everything is enqueued. `ranks`: of their channels; a wait that nobody could end is an Error.
// Other errors are those of Executor::run().
void enqueue_step(const Program& program, const std::vector<std::unique_ptr<Executor>>& executors,
                  Rendezvous& ranks, const StepInput& input);

}  // namespace stagecoach
