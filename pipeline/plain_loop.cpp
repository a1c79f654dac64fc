#include "pipeline/plain_loop.h"

#include "core/system_memory.h"
#include "kernels/step.h"
#include "kernels/target.h"

namespace stagecoach {
namespace {

StageOptions whole_network(const Network& network, const PipelineOptions& options) {
  StageOptions stage;
  stage.end = network.size();
  stage.memory = memory_of_job(options);
  stage.optimizer = options.optimizer;
  return stage;
}

}  // namespace

PlainLoop::PlainLoop(const Network& network, const std::vector<LayerPlan>& plans,
                     const PipelineOptions& options)
    : micro_batches_(options.schedule.micro_batches), context_(options.target) {
  guard_.emplace(std::vector<Context*>{&context_}, micro_batches_);
  const StageOptions stage = whole_network(network, options);
  open_libraries(context_);
  check_memory("the plan",
               plan_memory(stage_graph(network, plans, 0, stage.end), stage.memory).arena.bytes() +
                   options.other_bytes,
               options.target.device, kMemoryHint);
  stages_.push_back(std::make_unique<Stage>(network, plans, stage, context_));
  make_clip(options, stages_, std::ssize(parameters_of(network, plans)));
  if (Graph::can_capture(options.target.device)) {
    launcher_.emplace(std::vector<Context*>{&context_}, std::vector<SpanRecorder*>{&spans_},
                      stages_[0].get(), *guard_, options.eager);
  }
}

void PlainLoop::run_on_cpu(const StepInput& input) {
  // Also where the walk fails: what is enqueued still reads the input.
  try {
    begin_step(context_, values_of(input));
    enqueue(input);
    context_.stream().synchronize();
  } catch (...) {
    context_.stream().reset();
    throw;
  }
}

void PlainLoop::enqueue(const StepInput& input) {
  Stage& stage = *stages_[0];
  Stream& stream = context_.stream();
  const std::int64_t rows = input.images.shape()[0] / micro_batches_;
  stage.begin_step();
  spans_.begin(stream);
  for (int m = 0; m < micro_batches_; ++m) {
    const MicroBatch micro = micro_batch_of(input, m, rows);
    const Tensor images = rows_of(input.images, micro.first_sample, rows);
    stage.forward({&images, 1}, rows_of(input.targets, micro.first_sample, rows), micro);
    spans_.end_span(stream, TraceKind::kForward, 0, m);
    if (!micro.training) continue;
    stage.backward_input({}, micro);
    spans_.end_span(stream, TraceKind::kBackwardInput, 0, m);
    stage.backward_weight(micro);
    spans_.end_span(stream, TraceKind::kBackwardWeight, 0, m);
  }
  if (input.micro.training) stage.end_step(micro_batch_of(input, 0, rows));
  if (input.optimizer == nullptr) return;
  if (clip() != nullptr) {
    clip()->measure(stage);
    clip()->clip(stage);
  }
  stage.flat().step(*input.optimizer);
  stage.flat().end_update();
  spans_.end_span(stream, TraceKind::kOptimizer, 0, -1);
}

}  // namespace stagecoach
