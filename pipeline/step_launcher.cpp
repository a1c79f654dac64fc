#include "pipeline/step_launcher.h"

#include <algorithm>

#include "core/copy.h"
#include "core/error.h"
#include "kernels/step.h"

namespace stagecoach {
namespace {

// Before a capture everything must have run once: libraries load their kernels at first use, and
// may not while a stream is captured.
constexpr int kEagerSteps = 2;

std::uint32_t& flag_in(const Buffer& buffer) {
  return *static_cast<std::uint32_t*>(buffer.data());
}

StepValues values_of(const StepInput& input) {
  StepValues values;
  values.step = input.micro.step;
  if (input.optimizer == nullptr) return values;
  values.learning_rate = input.optimizer->sgd.learning_rate;
  values.adam = adam_rates(input.optimizer->adam, input.micro.step + 1);
  return values;
}

}  // namespace

StepLauncher::StepLauncher(std::vector<Context*> contexts, bool eager)
    : contexts_(std::move(contexts)),
      eager_(eager),
      failure_flag_(Buffer::pinned(sizeof(std::uint32_t))) {
  for (Context* context : contexts_) context->set_failure_flag(&flag_in(failure_flag_));
}

StepLauncher::~StepLauncher() {
  for (Context* context : contexts_) {
    context->stream().reset();
    context->set_failure_flag(nullptr);
  }
}

void StepLauncher::run(const StepInput& input, const std::function<void()>& enqueue,
                       const std::vector<SpanRecorder*>& spans) {
  flag_in(failure_flag_) = 0;  // nothing runs
  begin_steps(input);
  if (eager_ || !input.micro.training || steps_ < kEagerSteps) {
    enqueue();
  } else {
    const Captured& step = captured(input, enqueue, spans);
    for (std::size_t i = 0; i < spans.size(); ++i) *spans[i] = step.spans[i];
    join_begun();
    step.graph->launch(contexts_[0]->stream());
  }
  for (Context* context : contexts_) context->stream().synchronize();
  if (input.micro.training) ++steps_;
}

void StepLauncher::begin_steps(const StepInput& input) {
  const StepValues values = values_of(input);
  for (Context* context : contexts_) begin_step(*context, values);
}

// The graph starts on the first stream, and works on the others.
void StepLauncher::join_begun() {
  for (std::size_t i = 1; i < contexts_.size(); ++i) {
    Event begun;
    contexts_[i]->stream().record(begun);
    contexts_[0]->stream().wait(begun);
  }
}

const StepLauncher::Captured& StepLauncher::captured(const StepInput& input,
                                                     const std::function<void()>& enqueue,
                                                     const std::vector<SpanRecorder*>& spans) {
  const auto found = std::ranges::find(captured_, input.images.data, &Captured::images);
  if (found != captured_.end()) return *found;
  std::vector<Stream*> streams;
  for (Context* context : contexts_) streams.push_back(&context->stream());
  Captured step;
  step.images = input.images.data;
  step.graph = Graph::capture(streams, enqueue);
  for (const SpanRecorder* recorder : spans) step.spans.push_back(*recorder);
  captured_.push_back(std::move(step));
  return captured_.back();
}

void StepLauncher::check_losses(const Stage& last, const StepInput& input,
                                int micro_batches) const {
  if (!input.micro.training || flag_in(failure_flag_) == 0) return;
  const OwnedTensor losses = to_host(last.context().stream(), last.losses());
  const std::int64_t rows = input.labels.elements() / micro_batches;
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    const MicroBatch micro = micro_batch_of(input, m, rows);
    check_finite_losses(rows_of(losses.tensor, micro.first_sample, rows), micro);
  }
}

}  // namespace stagecoach
