#include "pipeline/executor.h"

#include <utility>

#include "core/error.h"
#include "pipeline/activity.h"

namespace stagecoach {
namespace {

Stream& stream_of(int rank, const std::map<int, LinkedStage>& stages) {
  STAGECOACH_CHECK(!stages.empty(), "Executor", "a rank with stages",
                   fmt::format("none on rank {}", rank));
  return stages.begin()->second.stage->context().stream();
}

// The error with the place where it struck.
std::exception_ptr located(const std::exception_ptr& error, int rank, const LinkedStage& linked,
                           const std::string& place) {
  const std::string replica =
      linked.replicas > 1 ? fmt::format("replica {}, ", linked.replica) : "";
  return with_where(error, fmt::format("{}rank {}, {}", replica, rank, place));
}

Channel& channel_of(const LinkedChannels& channels, const Action& action) {
  Channel* channel = channels.of(action.micro_batch);
  STAGECOACH_CHECK(channel != nullptr, "Executor", "messages between two ranks only",
                   action.to_string());
  return *channel;
}

// Nobody reads what was not written.
void check_computed(bool computed, const Action& action) {
  STAGECOACH_CHECK(computed, "Executor", fmt::format("what {} makes", action.to_string()),
                   "an order in which it has not run");
}

}  // namespace

struct Executor::Step {
  const Program& program;
  const StepInput& input;

  MicroBatch micro(const Action& action, const LinkedStage& linked) const {
    MicroBatch micro = micro_batch_of(input, action.micro_batch, rows());
    micro.index = linked.own(action.micro_batch);
    return micro;
  }
  std::int64_t rows() const { return input.images.shape()[0] / program.micro_batches(); }
  Tensor slice(const Tensor& tensor, const Action& action) const {
    return rows_of(tensor, action.micro_batch * rows(), rows());
  }
};

Executor::Executor(int rank, std::map<int, LinkedStage> stages, const GradientClip* clip,
                   Watch* watch)
    : rank_(rank),
      stages_(std::move(stages)),
      stream_(stream_of(rank, stages_)),
      side_(stages_.begin()->second.side),
      spans_(rank),
      side_spans_(rank, true),
      clip_(clip),
      watch_(stream_.device() == Device{} ? watch : nullptr) {}

void Executor::run(const Program& program, const StepInput& input) {
  try {
    enqueue(program, input);
  } catch (...) {
    failed_at_ = Clock::now();
    const std::exception_ptr error = std::current_exception();
    abort_channels(error);
    reset_streams();
    std::rethrow_exception(error);
  }
  try {
    stream_.synchronize();
  } catch (...) {
    const SpanRecorder::Failure failure = spans_.first_failure();
    failed_at_ = failure.time;
    const auto error =
        located(std::current_exception(), rank_, stages_.begin()->second, failure.place);
    if (side_ != nullptr) abort_sums(error);  // one may be waiting for other replicas
    reset_streams();
    std::rethrow_exception(error);
  }
}

void Executor::enqueue(const Program& program, const StepInput& input) {
  try {
    begin();
    for (const Action& action : program.actions(rank_)) act(program, input, action);
    end_table({program, input});
  } catch (...) {
    std::rethrow_exception(located_here(std::current_exception()));
  }
}

std::vector<SpanRecorder*> Executor::spans() {
  if (side_ == nullptr) return {&spans_};
  return {&spans_, &side_spans_};
}

void Executor::abort_channels(const std::exception_ptr& error) {
  for (const auto& [number, linked] : stages_) {
    for (const LinkedChannels* links : {&linked.activations_in, &linked.activations_out,
                                        &linked.gradients_in, &linked.gradients_out}) {
      for (Channel* channel : links->channels) {
        if (channel != nullptr) channel->abort(error);
      }
    }
    for (const auto* channels :
         {&linked.output_readers, &linked.gradient_readers, &linked.output_makers,
          &linked.gradient_makers, &linked.norm_readers, &linked.norm_makers}) {
      for (Channel* channel : *channels) channel->abort(error);
    }
  }
  abort_sums(error);
}

void Executor::abort_sums(const std::exception_ptr& error) {
  for (const auto& [number, linked] : stages_) {
    if (linked.sum != nullptr) linked.sum->abort(error);
  }
}

std::exception_ptr Executor::located_here(const std::exception_ptr& error) const {
  return located(error, rank_, stages_.begin()->second,
                 place_of(current_.stage, name_of(current_.kind), current_.micro_batch));
}

void Executor::begin() {
  for (const auto& [number, linked] : stages_) linked.stage->begin_step();
  reduced_.clear();
  clipped_.clear();
  spans_.begin(stream_);
  if (side_ != nullptr) side_spans_.begin(side_->stream());
  for (const auto& [number, linked] : stages_) {
    if (linked.sum != nullptr) linked.sum->begin_step();
  }
}

void Executor::reset_streams() {
  if (side_ != nullptr) side_->stream().reset();
  stream_.reset();
}

// What ran beside the rank has a row of its own, where waiting says nothing.
std::vector<TraceEvent> Executor::trace(Clock::time_point origin, std::int64_t step) const {
  std::vector<TraceEvent> events = spans_.events(origin, step);
  for (const TraceEvent& event : side_spans_.events(origin, step)) {
    if (event.kind != TraceKind::kWait) events.push_back(event);
  }
  return events;
}

void Executor::act(const Program& program, const StepInput& input, const Action& action) {
  current_ = action;
  if (watch_ != nullptr) {
    stream_.enqueue([this, activity = activity_of(input.micro.step, action)] {
      watch_->set_activity(activity);
    });
  }
  run_action({program, input}, action);
}

void Executor::set_waiting(bool waiting) {
  if (watch_ == nullptr) return;
  stream_.enqueue([this, waiting] { watch_->set_waiting(waiting); });
}

void Executor::run_action(const Step& step, const Action& action) {
  const auto found = stages_.find(action.stage);
  STAGECOACH_CHECK(found != stages_.end(), "Executor", fmt::format("a stage of rank {}", rank_),
                   action.to_string());
  const int least = is_per_stage(action.kind) ? -1 : 0;
  const int end = is_per_stage(action.kind) ? 0 : step.program.micro_batches();
  STAGECOACH_CHECK(action.micro_batch >= least && action.micro_batch < end, "Executor",
                   fmt::format("a micro-batch in [{}, {})", least, end), action.to_string());
  const LinkedStage& linked = found->second;
  const int own = linked.own(action.micro_batch);
  switch (action.kind) {
    case ActionKind::kForward:
      return forward(step, action, linked);
    case ActionKind::kRecompute:
      return recompute(step, action, linked);
    case ActionKind::kBackwardInput:
      return backward_input(step, action, linked);
    case ActionKind::kBackwardWeight:
      return backward_weight(step, action, linked);
    case ActionKind::kBackward:
      return backward(step, action, linked);
    case ActionKind::kReceiveActivation:
      return channel_of(linked.activations_in, action)
          .expect(action.micro_batch, linked.stage->receive_inputs(own));
    case ActionKind::kReceiveGradient:
      return channel_of(linked.gradients_in, action)
          .expect(action.micro_batch, linked.stage->receive_output_grads(own));
    case ActionKind::kSendActivation:
      check_computed(linked.stage->has_output(own) || !step.input.micro.training, action);
      return send(channel_of(linked.activations_out, action), linked.stage->outputs(own), action);
    case ActionKind::kSendGradient:
      check_computed(linked.stage->has_input_grad(own), action);
      return send(channel_of(linked.gradients_out, action), linked.stage->input_grads(own), action);
    case ActionKind::kReduceGradient:
    case ActionKind::kOptimizerStep:
      return optimizer_step(step, action, linked);
  }
}

// The message of the stage before, when it is there. Stages of one rank share a stream, so what the
// one before has written is.
std::vector<Tensor> Executor::inputs(const Step& step, const Action& action,
                                     const LinkedStage& linked) {
  const int micro = action.micro_batch;
  if (linked.stage->is_first()) return {step.slice(step.input.images, action)};
  if (Channel* channel = linked.activations_in.of(micro)) return await(*channel, action);
  const LinkedStage& before = stages_.at(action.stage - 1);
  const int own = before.own(micro);
  check_computed(before.stage->has_output(own), {ActionKind::kForward, action.stage - 1, micro});
  return before.stage->outputs(own);
}

void Executor::forward(const Step& step, const Action& action, const LinkedStage& linked) {
  Stage& stage = *linked.stage;
  const int micro = action.micro_batch;
  const int overwritten = step.program.dependencies().overwritten(
      action.stage, micro, step.program.buffers().outputs[action.stage]);
  wait_released(linked.activations_out.of(overwritten), action, overwritten);
  for (Channel* reader : linked.output_readers) wait_released(reader, action, overwritten);
  const std::vector<Tensor> message = inputs(step, action, linked);
  const Tensor targets = stage.is_last() ? step.slice(step.input.targets, action) : Tensor{};
  const bool keep = !step.program.slots().recomputes(action.stage, micro);
  stage.forward(message, targets, step.micro(action, linked), keep);
  end_span(TraceKind::kForward, action);
  if (step.input.micro.training) return;
  release(linked.activations_in.of(micro), action);
  release_all(linked.output_makers, action);
}

void Executor::recompute(const Step& step, const Action& action, const LinkedStage& linked) {
  linked.stage->recompute(step.micro(action, linked));
  end_span(TraceKind::kRecompute, action);
}

// The message of the stage after, when it is there.
std::vector<Tensor> Executor::output_grads(const Step& step, const Action& action,
                                           const LinkedStage& linked) {
  const int micro = action.micro_batch;
  const int overwritten = step.program.dependencies().overwritten(
      action.stage, micro, step.program.buffers().input_gradients[action.stage]);
  wait_released(linked.gradients_out.of(overwritten), action, overwritten);
  for (Channel* reader : linked.gradient_readers) wait_released(reader, action, overwritten);
  if (linked.stage->is_last()) return {};
  if (Channel* channel = linked.gradients_in.of(micro)) return await(*channel, action);
  const LinkedStage& after = stages_.at(action.stage + 1);
  const int own = after.own(micro);
  check_computed(after.stage->has_input_grad(own),
                 {ActionKind::kBackwardInput, action.stage + 1, micro});
  return after.stage->input_grads(own);
}

void Executor::backward_input(const Step& step, const Action& action, const LinkedStage& linked) {
  const std::vector<Tensor> message = output_grads(step, action, linked);
  linked.stage->backward_input(message, step.micro(action, linked));
  end_span(TraceKind::kBackwardInput, action);
}

void Executor::backward_weight(const Step& step, const Action& action, const LinkedStage& linked) {
  linked.stage->backward_weight(step.micro(action, linked), 0, beside(step, action, linked));
  end_span(TraceKind::kBackwardWeight, action);
  end_backward(action, linked);
}

void Executor::backward(const Step& step, const Action& action, const LinkedStage& linked) {
  const std::vector<Tensor> message = output_grads(step, action, linked);
  Stage& stage = *linked.stage;
  for (int segment = stage.segments() - 1; segment >= 0; --segment) {
    if (segment + 1 < stage.segments()) {
      stage.recompute_segment(segment, step.micro(action, linked));
      end_span(TraceKind::kRecompute, action);
    }
    current_.kind = ActionKind::kBackwardInput;
    stage.backward_input(message, step.micro(action, linked), segment);
    end_span(TraceKind::kBackwardInput, action);
    current_.kind = ActionKind::kBackwardWeight;
    stage.backward_weight(step.micro(action, linked), segment, beside(step, action, linked));
    end_span(TraceKind::kBackwardWeight, action);
  }
  end_backward(action, linked);
}

// After the action's span has ended: nobody who waits for it then begins before it, in the trace.
void Executor::end_backward(const Action& action, const LinkedStage& linked) {
  release(linked.activations_in.of(action.micro_batch), action);
  release(linked.gradients_in.of(action.micro_batch), action);
  release_all(linked.output_makers, action);
  release_all(linked.gradient_makers, action);
}

// Where what follows the stream's work so far is enqueued: beside it or on the stage's context.
Context& Executor::begin_beside(const Action& action, const LinkedStage& linked) {
  if (side_ == nullptr) return linked.stage->context();
  Event made;
  stream_.record(made);
  side_->stream().wait(made);
  end_side_span(TraceKind::kWait, action);
  return *side_;
}

void Executor::end_side_span(TraceKind kind, const Action& action) {
  if (side_ == nullptr) return end_span(kind, action);
  side_spans_.end_span(side_->stream(), kind, action.stage, -1);
}

// The stream goes on when what runs beside it has ended.
void Executor::wait_for_side(const Action& action) {
  set_waiting(true);
  Event summed;
  side_->stream().record(summed);
  stream_.wait(summed);
  set_waiting(false);
  end_span(TraceKind::kWait, action);
}

// What updates a share of the parameters needs that of the gradients only, unless they are clipped
// by the norm of all.
void Executor::sum_bucket(Context& context, const Action& action, const LinkedStage& linked,
                          int bucket) {
  const auto waited = [&] { end_side_span(TraceKind::kWait, action); };
  const Elements& elements = linked.stage->memory_plan().buckets[bucket].elements;
  linked.sum->reduce_scatter(context, elements, waited);
  if (!linked.stage->updates_share() || clip_ != nullptr) {
    end_side_span(TraceKind::kReduce, action);  // before the others are waited for
    linked.sum->all_gather(context, elements, ReplicaSum::Gathered::kGradients, waited);
  }
  end_side_span(TraceKind::kReduce, action);
}

void Executor::gather_bucket(Context& context, const Action& action, const LinkedStage& linked,
                             int bucket) {
  linked.sum->all_gather(context, linked.stage->memory_plan().buckets[bucket].elements,
                         ReplicaSum::Gathered::kParameters,
                         [&] { end_side_span(TraceKind::kWait, action); });
  linked.stage->flat().refresh_copies(context, bucket);
  end_side_span(TraceKind::kReduce, action);
}

bool Executor::updates_beside(const StepInput& input) const {
  return side_ != nullptr && clip_ == nullptr && stream_.device() != Device{} &&
         input.optimizer != nullptr;
}

// Behind the last W of a bucket's layers nobody reads their parameters in this step any more: W
// comes in the order of the micro-batches, each behind F, R and B of its own. Nor does a loss
// become known that is not finite: that of a micro-batch is, on every rank, before the stage's B of
// it, which has waited for the gradient that the flag comes with; other replicas' come with the
// sum.
Stage::Completed Executor::beside(const Step& step, const Action& action,
                                  const LinkedStage& linked) {
  const bool updates = updates_beside(step.input);
  if (side_ == nullptr || (linked.sum == nullptr && !updates)) return {};
  return [this, updates, &step, &action, &linked](int bucket) {
    Context& context = begin_beside(action, linked);
    if (linked.sum != nullptr) sum_bucket(context, action, linked, bucket);
    if (!updates) return;
    linked.stage->flat().step_bucket(context, *step.input.optimizer, bucket);
    end_side_span(TraceKind::kOptimizer, action);
    if (linked.stage->updates_share()) gather_bucket(context, action, linked, bucket);
  };
}

void Executor::reduce_gradients(const Action& action, const LinkedStage& linked) {
  if (linked.sum == nullptr || !reduced_.insert(action.stage).second) return;
  if (side_ != nullptr) return wait_for_side(action);
  const int buckets = static_cast<int>(linked.stage->memory_plan().buckets.size());
  set_waiting(true);
  for (int bucket = 0; bucket < buckets; ++bucket) {
    sum_bucket(linked.stage->context(), action, linked, bucket);
  }
  set_waiting(false);
}

// Of parameters that the replicas share, a bucket is gathered when it is updated: beside the stream
// while that updates the next one, else behind all.
void Executor::update(const Step& step, const Action& action, const LinkedStage& linked) {
  FlatParameters& flat = linked.stage->flat();
  if (linked.sum == nullptr || !linked.stage->updates_share()) {
    flat.step(*step.input.optimizer);
    end_span(TraceKind::kOptimizer, action);
  } else if (side_ != nullptr) {
    flat.step(*step.input.optimizer, [&](int bucket) {
      gather_bucket(begin_beside(action, linked), action, linked, bucket);
    });
    end_span(TraceKind::kOptimizer, action);
    wait_for_side(action);
  } else {
    flat.step(*step.input.optimizer);
    end_span(TraceKind::kOptimizer, action);
    const int buckets = static_cast<int>(linked.stage->memory_plan().buckets.size());
    set_waiting(true);
    for (int bucket = 0; bucket < buckets; ++bucket) {
      gather_bucket(linked.stage->context(), action, linked, bucket);
    }
    set_waiting(false);
  }
  flat.end_update();
}

void Executor::optimizer_step(const Step& step, const Action& action, const LinkedStage& linked) {
  STAGECOACH_CHECK(linked.stage->has_all_gradients(), "Executor", "W of every micro-batch before",
                   action.to_string());
  linked.stage->end_step(micro_batch_of(step.input, 0, step.rows()));
  if (updates_beside(step.input)) return;
  reduce_gradients(action, linked);
  if (action.kind == ActionKind::kReduceGradient || step.input.optimizer == nullptr) return;
  if (clip_ != nullptr) {
    if (linked.measures_norm) clip_->measure(*linked.stage);
    for (Channel* reader : linked.norm_readers) reader->release(0, stream_);  // one a step
    clipped_.push_back(action);
    end_span(TraceKind::kOptimizer, action);
  } else {
    update(step, action, linked);
  }
}

void Executor::end_table(const Step& step) {
  if (updates_beside(step.input))
    wait_for_side({ActionKind::kOptimizerStep, stages_.begin()->first, -1});
  if (clipped_.empty()) return;
  current_ = clipped_.front();
  const LinkedStage& first = stages_.begin()->second;
  for (Channel* maker : first.norm_makers) wait_released(maker, current_, 0);
  if (first.norms != nullptr) {
    set_waiting(true);
    first.norms->enqueue(stream_);
    set_waiting(false);
    end_span(TraceKind::kWait, current_);
  }
  for (const Action& action : clipped_) {
    current_ = action;
    const LinkedStage& linked = stages_.at(action.stage);
    clip_->clip(*linked.stage, linked.measures_norm);
    update(step, action, linked);
  }
}

void Executor::send(Channel& channel, std::span<const Tensor> message, const Action& action) {
  end_span(TraceKind::kSend, action);  // before anybody can receive it
  channel.send(action.micro_batch, message, stream_);
}

void Executor::release(Channel* channel, const Action& action) {
  if (channel != nullptr) channel->release(action.micro_batch, stream_);
}

void Executor::release_all(const std::vector<Channel*>& channels, const Action& action) {
  for (Channel* channel : channels) release(channel, action);
}

std::vector<Tensor> Executor::await(Channel& channel, const Action& action) {
  set_waiting(true);
  channel.await(action.micro_batch, stream_);
  set_waiting(false);
  end_span(TraceKind::kWait, action);
  std::vector<Tensor> message = channel.receive(action.micro_batch, stream_);
  end_span(TraceKind::kReceive, action);
  return message;
}

void Executor::wait_released(Channel* channel, const Action& action, int message) {
  if (channel == nullptr || message < 0) return;
  set_waiting(true);
  channel->wait_released(message, stream_);
  set_waiting(false);
  end_span(TraceKind::kWait, action);
}

void enqueue_step(const Program& program, const std::vector<std::unique_ptr<Executor>>& executors,
                  Rendezvous& ranks, const StepInput& input) {
  ranks.begin(1);
  const auto located = [](const Executor& executor, const auto& body) {
    try {
      body();
    } catch (...) {
      std::rethrow_exception(executor.located_here(std::current_exception()));
    }
  };
  for (const auto& executor : executors) executor->begin();
  replay(program.schedule(), program.dependencies(),
         [&](int rank, std::size_t, const Action& action, const DependencyList&) {
           Executor& executor = *executors[static_cast<std::size_t>(rank)];
           located(executor, [&] { executor.act(program, input, action); });
         });
  for (const auto& executor : executors) {
    located(*executor, [&] { executor->end_table({program, input}); });
  }
}

}  // namespace stagecoach
