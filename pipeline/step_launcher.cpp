#include "pipeline/step_launcher.h"

#include <algorithm>

#include "core/copy.h"
#include "core/device_backend.h"
#include "core/error.h"
#include "kernels/step.h"

namespace stagecoach {

StepLauncher::StepLauncher(std::vector<Context*> contexts, std::vector<SpanRecorder*> spans,
                           const Stage* last, StepGuard& guard, bool eager, OtherProcesses others)
    : contexts_(std::move(contexts)),
      spans_(std::move(spans)),
      last_(last),
      guard_(guard),
      eager_(eager),
      others_(std::move(others)) {}

StepLauncher::~StepLauncher() {
  for (Stream* stream : streams()) stream->reset();
}

std::vector<Stream*> StepLauncher::streams() const {
  std::vector<Stream*> all;
  for (Context* context : contexts_) all.push_back(&context->stream());
  all.insert(all.end(), others_.streams.begin(), others_.streams.end());
  return all;
}

void StepLauncher::launch(const StepInput& input, const std::function<void()>& enqueue) {
  STAGECOACH_CHECK(std::ssize(in_flight_) < max_in_flight(), "StepLauncher::launch",
                   fmt::format("less than {} steps in flight", max_in_flight()),
                   fmt::format("{}", in_flight_.size()));
  Slot& slot = slot_of(input);
  STAGECOACH_CHECK(std::ranges::find(in_flight_, &slot, &InFlight::slot) == in_flight_.end(),
                   "StepLauncher::launch", "a batch that no step in flight reads",
                   "the same as of one");
  guard_.begin(trains());
  begin(input);
  if (captures() && is_captured(input)) {
    if (!slot.graph) {
      slot.graph = Graph::capture(streams(), [&] { enqueue_all(slot, enqueue); });
    }
    join_begun();
    slot.graph->launch(contexts_[0]->stream());
  } else {
    enqueue_all(slot, enqueue);
    synchronize();
  }
  Event end;
  contexts_[0]->stream().record(end);
  in_flight_.push_back({input, &slot, end});
  if (input.micro.training) ++steps_;
}

StepResult StepLauncher::finish() {
  STAGECOACH_CHECK(!in_flight_.empty(), "StepLauncher::finish", "a step in flight", "none");
  const InFlight step = in_flight_.front();
  in_flight_.pop_front();
  others_.wait(step.end);
  for (const Context* context : contexts_) {
    device_backend(context->device()).read_clock(context->device());
  }
  for (std::size_t i = 0; i < spans_.size(); ++i) *spans_[i] = step.slot->spans[i];
  StepResult own;
  if (last_ != nullptr) {
    own.losses = step.slot->losses.view(last_->losses().spec);
    if (last_->correct().defined()) own.correct = step.slot->correct.view(last_->correct().spec);
  }
  const StepResult result = others_.share(step.input, own);
  try {
    guard_.check(step.input, result.losses);
  } catch (...) {
    synchronize();
    in_flight_.clear();
    throw;
  }
  return result;
}

// A graph is of full training steps: what a loss divides by is a part of it.
bool StepLauncher::is_captured(const StepInput& input) {
  return input.micro.training && is_full(input);
}

// All evaluations, and batches that are not full, share a slot.
StepLauncher::Slot& StepLauncher::slot_of(const StepInput& input) {
  const bool own = is_captured(input);
  const void* images = own ? input.images.data : nullptr;
  const void* targets = own ? input.targets.data : nullptr;
  const auto found = std::ranges::find_if(
      slots_, [&](const Slot& slot) { return slot.images == images && slot.targets == targets; });
  if (found != slots_.end()) return *found;
  Slot& slot = slots_.emplace_back();
  slot.images = images;
  slot.targets = targets;
  if (last_ == nullptr) return slot;
  slot.losses = Buffer::pinned(last_->losses().bytes(), last_->losses().device);
  if (last_->correct().defined()) {
    slot.correct = Buffer::pinned(last_->correct().bytes(), last_->correct().device);
  }
  return slot;
}

// The step and, behind its last stage, the copies of its result.
void StepLauncher::enqueue_all(Slot& slot, const std::function<void()>& enqueue) {
  enqueue();
  if (last_ != nullptr) {
    Stream& stream = last_->context().stream();
    copy(stream, slot.losses.view(last_->losses().spec), last_->losses());
    if (last_->correct().defined()) {
      copy(stream, slot.correct.view(last_->correct().spec), last_->correct());
    }
  }
  slot.spans.clear();
  for (const SpanRecorder* recorder : spans_) slot.spans.push_back(*recorder);
}

// On every stream, behind the step before: that one reads the values as it goes.
void StepLauncher::begin(const StepInput& input) {
  const StepValues values = values_of(input);
  for (Context* context : contexts_) {
    if (!in_flight_.empty()) context->stream().wait(in_flight_.back().end);
    if (input.ready) context->stream().wait(*input.ready);
    begin_step(*context, values);
  }
  for (Stream* stream : others_.streams) {
    if (!in_flight_.empty()) stream->wait(in_flight_.back().end);
  }
}

// The graph starts on the first stream, and works on the others.
void StepLauncher::join_begun() {
  for (std::size_t i = 1; i < contexts_.size(); ++i) {
    Event begun;
    contexts_[i]->stream().record(begun);
    contexts_[0]->stream().wait(begun);
  }
}

void StepLauncher::synchronize() {
  for (Stream* stream : streams()) {
    Event reached;
    stream->record(reached);
    others_.wait(reached);
  }
}

bool StepLauncher::trains() const {
  return std::ranges::any_of(in_flight_,
                             [](const InFlight& step) { return step.input.micro.training; });
}

}  // namespace stagecoach
