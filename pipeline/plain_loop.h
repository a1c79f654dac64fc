// PlainLoop: the whole network as one stage, one micro-batch after another.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "pipeline/training_loop.h"

namespace stagecoach {

// The whole network as one stage, one micro-batch after another: no schedule, no channels, no
// other threads. What a pipeline is compared with.
class PlainLoop : public TrainingLoop {
 public:
  // Of `options`: all but the partition and the devices; of the schedule its micro_batches.
  PlainLoop(const Network& network, const std::vector<LayerPlan>& plans,
            const PipelineOptions& options);

  std::vector<TraceEvent> trace(Clock::time_point origin, std::int64_t step) const override {
    return spans_.events(origin, step);
  }
  const std::vector<std::unique_ptr<Stage>>& stages() const override { return stages_; }

 protected:
  StepLauncher* launcher() override { return launcher_ ? &*launcher_ : nullptr; }
  StepGuard& guard() override { return *guard_; }
  void enqueue(const StepInput& input) override;
  void run_on_cpu(const StepInput& input) override;

 private:
  int micro_batches_;
  Context context_;
  std::optional<StepGuard> guard_;
  std::vector<std::unique_ptr<Stage>> stages_;  // one
  SpanRecorder spans_{0};
  std::optional<StepLauncher> launcher_;  // on a GPU
};

}  // namespace stagecoach
