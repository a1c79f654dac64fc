#include "pipeline/executor.h"

#include <chrono>
#include <utility>

#include "core/error.h"

namespace stagecoach {
namespace {

Stream& stream_of(int rank, const std::map<int, LinkedStage>& stages) {
  STAGECOACH_CHECK(!stages.empty(), "Executor", "a rank with stages",
                   fmt::format("none on rank {}", rank));
  return stages.begin()->second.stage->context().stream();
}

std::string place_of(int stage, std::string_view kind, int micro_batch) {
  std::string text = fmt::format("stage {}, {}", stage, kind);
  return micro_batch < 0 ? text : text + fmt::format(" of micro-batch {}", micro_batch);
}

// The error with the place where it struck. A NumericError says that itself.
std::exception_ptr located(const std::exception_ptr& error, int rank, const std::string& place) {
  const auto wrapped = [&](const std::string& text) {
    return std::make_exception_ptr(
        Error(fmt::format("rank {}, {}", rank, place), "no failure", text));
  };
  try {
    std::rethrow_exception(error);
  } catch (const NumericError&) {
    return error;
  } catch (const Error& known) {
    return wrapped(known.message());
  } catch (const std::exception& other) {
    return wrapped(other.what());
  } catch (...) {
    return error;
  }
}

}  // namespace

MicroBatch micro_batch_of(const StepInput& input, std::int64_t index, std::int64_t rows) {
  MicroBatch micro = input.micro;
  micro.index = index;
  micro.first_sample = index * rows;
  return micro;
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
    events.push_back({span.kind, rank_, span.stage, span.micro_batch, step, start, end});
    start = end;
  }
  return events;
}

struct Executor::Step {
  const Schedule& schedule;
  const BufferCounts& buffers;
  const StepInput& input;

  MicroBatch micro(const Action& action) const {
    return micro_batch_of(input, action.micro_batch, rows());
  }
  std::int64_t rows() const { return input.labels.elements() / schedule.micro_batches; }
  Tensor slice(const Tensor& tensor, const Action& action) const {
    return rows_of(tensor, action.micro_batch * rows(), rows());
  }
};

Executor::Executor(int rank, std::map<int, LinkedStage> stages)
    : rank_(rank), stages_(std::move(stages)), stream_(stream_of(rank, stages_)), spans_(rank) {}

void Executor::run(const Schedule& schedule, const BufferCounts& buffers, const StepInput& input) {
  try {
    walk({schedule, buffers, input});
  } catch (...) {
    failed_at_ = Clock::now();
    const auto error = located_here(std::current_exception());
    abort_channels(error);
    stream_.reset();
    std::rethrow_exception(error);
  }
  try {
    stream_.synchronize();
  } catch (...) {
    const SpanRecorder::Failure failure = spans_.first_failure();
    failed_at_ = failure.time;
    stream_.reset();
    std::rethrow_exception(located(std::current_exception(), rank_, failure.place));
  }
}

void Executor::abort_channels(const std::exception_ptr& error) {
  for (const auto& [number, linked] : stages_) {
    for (Channel* channel : {linked.activations_in, linked.activations_out, linked.gradients_in,
                             linked.gradients_out}) {
      if (channel != nullptr) channel->abort(error);
    }
  }
}

std::exception_ptr Executor::located_here(const std::exception_ptr& error) const {
  return located(error, rank_,
                 place_of(current_.stage, name_of(current_.kind), current_.micro_batch));
}

void Executor::walk(const Step& step) {
  begin();
  for (const Action& action : step.schedule.ranks[static_cast<std::size_t>(rank_)]) {
    act(step.schedule, step.buffers, step.input, action);
  }
  update(step.input);
}

void Executor::begin() {
  activations_.clear();
  gradients_.clear();
  spans_.begin(stream_);
}

void Executor::act(const Schedule& schedule, const BufferCounts& buffers, const StepInput& input,
                   const Action& action) {
  current_ = action;
  run_action({schedule, buffers, input}, action);
}

void Executor::update(const StepInput& input) {
  if (input.optimizer == nullptr) return;
  for (const auto& [number, linked] : stages_) {
    linked.stage->optimizer_step(*input.optimizer, input.micro.step);
    spans_.end_span(stream_, TraceKind::kOptimizer, number, -1);
  }
}

void Executor::run_action(const Step& step, const Action& action) {
  const LinkedStage& linked = stages_.at(action.stage);
  const std::pair<int, int> key{action.stage, action.micro_batch};
  switch (action.kind) {
    case ActionKind::kForward:
      return forward(step, action, linked);
    case ActionKind::kBackwardInput:
      return backward_input(step, action, linked);
    case ActionKind::kBackwardWeight:
      return backward_weight(step, action, linked);
    case ActionKind::kReceiveActivation:
      return receive(*linked.activations_in, linked.stage->received_input(action.micro_batch),
                     activations_[key], action);
    case ActionKind::kReceiveGradient:
      return receive(*linked.gradients_in, linked.stage->received_output_grad(action.micro_batch),
                     gradients_[key], action);
    case ActionKind::kSendActivation:
      return send(*linked.activations_out, linked.stage->output(action.micro_batch), action);
    case ActionKind::kSendGradient:
      return send(*linked.gradients_out, linked.stage->input_grad(action.micro_batch), action);
  }
}

// Stages of one rank share a stream, so what the one before has written is there.
void Executor::forward(const Step& step, const Action& action, const LinkedStage& linked) {
  const int overwritten = action.micro_batch - step.buffers.slots[action.stage];
  wait_released(linked.activations_out, action, overwritten);
  Tensor input;
  if (linked.stage->is_first()) {
    input = step.slice(step.input.images, action);
  } else if (linked.activations_in != nullptr) {
    input = activations_.at({action.stage, action.micro_batch});
  } else {
    input = stages_.at(action.stage - 1).stage->output(action.micro_batch);
  }
  const Tensor labels = step.slice(step.input.labels, action);
  linked.stage->forward(input, labels, step.input.labels.elements(), step.micro(action));
  end_span(TraceKind::kForward, action);
  if (!step.input.micro.training) release(linked.activations_in, action);
}

void Executor::backward_input(const Step& step, const Action& action, const LinkedStage& linked) {
  const int overwritten = action.micro_batch - step.buffers.gradient_buffers[action.stage];
  wait_released(linked.gradients_out, action, overwritten);
  Tensor output_grad;
  if (linked.gradients_in != nullptr) {
    output_grad = gradients_.at({action.stage, action.micro_batch});
  } else if (!linked.stage->is_last()) {
    output_grad = stages_.at(action.stage + 1).stage->input_grad(action.micro_batch);
  }
  linked.stage->backward_input(output_grad, step.micro(action));
  end_span(TraceKind::kBackwardInput, action);
}

void Executor::backward_weight(const Step& step, const Action& action, const LinkedStage& linked) {
  linked.stage->backward_weight(step.micro(action));
  end_span(TraceKind::kBackwardWeight, action);
  release(linked.activations_in, action);
  release(linked.gradients_in, action);
}

void Executor::receive(Channel& channel, const Tensor& buffer, Tensor& message,
                       const Action& action) {
  channel.await(action.micro_batch, stream_);
  end_span(TraceKind::kWait, action);
  message = channel.receive(action.micro_batch, buffer, stream_);
  end_span(TraceKind::kReceive, action);
}

void Executor::send(Channel& channel, const Tensor& message, const Action& action) {
  channel.send(action.micro_batch, message, stream_);
  end_span(TraceKind::kSend, action);
}

// After the action's span has ended: nobody who waits for it then begins before it, in the trace.
void Executor::release(Channel* channel, const Action& action) {
  if (channel != nullptr) channel->release(action.micro_batch, stream_);
}

void Executor::wait_released(Channel* channel, const Action& action, int message) {
  if (channel == nullptr || message < 0) return;
  channel->wait_released(message, stream_);
  end_span(TraceKind::kWait, action);
}

}  // namespace stagecoach
