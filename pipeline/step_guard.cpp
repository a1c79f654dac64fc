#include "pipeline/step_guard.h"

#include <atomic>
#include <cmath>

#include "core/error.h"

namespace stagecoach {
StepGuard::StepGuard(std::vector<Context*> contexts, int micro_batches)
    : contexts_(std::move(contexts)),
      micro_batches_(micro_batches),
      flag_(shared_host_memory(contexts_, sizeof(std::uint32_t))) {
  for (Context* context : contexts_) {
    context->set_failure_flag(static_cast<std::uint32_t*>(flag_.data()));
  }
}

StepGuard::~StepGuard() {
  for (Context* context : contexts_) {
    context->stream().reset();
    context->set_failure_flag(nullptr);
  }
}

void StepGuard::begin(bool behind_a_training_step) {
  if (behind_a_training_step) return;
  std::atomic_ref(*static_cast<std::uint32_t*>(flag_.data())).store(0);
}

void StepGuard::check(const StepInput& input, const Tensor& losses) const {
  if (!input.micro.training) return;
  const auto* loss = losses.as<float>();
  const std::int64_t rows = losses.elements() / micro_batches_;
  for (std::int64_t i = 0; i < losses.elements(); ++i) {
    if (std::isfinite(loss[i])) continue;
    throw NumericError(
        fmt::format("training step {}", input.micro.step + 1), "a finite loss",
        fmt::format("{} for sample {} of micro-batch {}", loss[i], i % rows, i / rows));
  }
}

}  // namespace stagecoach
