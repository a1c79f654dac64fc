// Pipeline: all ranks of a training job in one process, a stream for each; on the CPU a thread,
// too.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "comm/rendezvous.h"
#include "core/worker.h"
#include "pipeline/executor.h"
#include "pipeline/step_launcher.h"

namespace stagecoach {

// Runs training steps and evaluations over a network that is split into stages, or is not.
class TrainingLoop {
 public:
  virtual ~TrainingLoop() = default;
  // Steps that may be launched and not finished: two of them, once they are captured graphs.
  int max_in_flight();
  // Begins a step, on the batch that `input` names: which stays as it is until the step is
  // finished, and is no other step's in flight. On the CPU the step runs in finish().
  void launch(const StepInput& input);
  // Waits for the step that was launched first; what it gave stays until the next launch.
  // Throws the first error of any stage. When it was a NumericError, weights are as before that
  // step, and steps launched behind it are dropped; for any other the loop must not be used again.
  StepResult finish();
  StepResult run(const StepInput& input) {
    launch(input);
    return finish();
  }
  // What the step that was finished last did, in seconds since `origin`; until the next launch.
  virtual std::vector<TraceEvent> trace(Clock::time_point origin, std::int64_t step) const = 0;
  virtual const std::vector<std::unique_ptr<Stage>>& stages() const = 0;

 protected:
  virtual StepLauncher* launcher() = 0;  // on GPUs; null on the CPU
  virtual void enqueue(const StepInput& input) = 0;
  // On the CPU; blocks, and the result is in the last stage's tensors.
  virtual void run_on_cpu(const StepInput& input) = 0;

 private:
  std::optional<StepInput> launched_;  // on the CPU
};

struct PipelineOptions {
  Partition partition;
  Schedule schedule;  // of training, with or without communication; stages as in the partition
  // With an R in the schedule: the layers whose F runs a second time at once; 0: all of a stage.
  int recompute_interval = 0;
  Target target;  // of each rank
  // Of each rank, where they are not all the target's device.
  std::vector<Device> devices;
  bool eager = false;  // on GPUs: enqueue every step anew, instead of launching a captured graph
  Optimizer optimizer;
  std::int64_t loss_rows = 0;    // samples in a step
  std::int64_t other_bytes = 0;  // that the process will need beside the stages
};

// What the plan of each stage takes; for ranks on one device. Throws Error where the schedule does
// not pass check(), or does not fit the partition.
std::vector<std::int64_t> planned_bytes(const std::vector<LayerPlan>& plans,
                                        const PipelineOptions& options);

class Pipeline : public TrainingLoop {
 public:
  // `plans`: of all layers, for one micro-batch. Checks the schedule, plans the memory of all
  // stages and refuses what the machine cannot hold, before it allocates. Throws Error.
  Pipeline(const Network& network, const std::vector<LayerPlan>& plans, PipelineOptions options);
  ~Pipeline() override;

  std::vector<TraceEvent> trace(Clock::time_point origin, std::int64_t step) const override;
  const std::vector<std::unique_ptr<Stage>>& stages() const override { return stages_; }
  // What runs: with communication and optimizer steps.
  const Schedule& schedule() const { return training_; }
  const BufferCounts& buffers() const { return buffers_; }

 protected:
  StepLauncher* launcher() override { return launcher_ ? &*launcher_ : nullptr; }
  void enqueue(const StepInput& input) override;
  void run_on_cpu(const StepInput& input) override;

 private:
  void make_stages(const Network& network, const std::vector<LayerPlan>& plans,
                   const PipelineOptions& options);
  void make_executors();
  void make_drivers(const PipelineOptions& options);
  Context& context_of(std::size_t stage) const;
  bool copies_between(std::size_t stage) const;

  Schedule training_, evaluation_;
  BufferCounts buffers_;
  std::vector<int> rank_of_;                        // per stage
  std::vector<std::unique_ptr<Context>> contexts_;  // per rank
  std::vector<std::unique_ptr<Stage>> stages_;
  std::shared_ptr<Rendezvous> rendezvous_ = std::make_shared<Rendezvous>();
  std::vector<std::unique_ptr<Channel>> channels_;
  std::vector<std::unique_ptr<Executor>> executors_;  // per rank
  std::vector<std::unique_ptr<Worker>> threads_;      // per rank; they use the members above
  std::optional<OwnedTensor> labels_;                 // the last stage's, when on another GPU
  std::optional<StepLauncher> launcher_;              // on GPUs, instead of threads_
};

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
  void enqueue(const StepInput& input) override;
  void run_on_cpu(const StepInput& input) override;

 private:
  int micro_batches_;
  Context context_;
  std::vector<std::unique_ptr<Stage>> stages_;  // one
  SpanRecorder spans_{0};
  std::optional<StepLauncher> launcher_;  // on a GPU
};

}  // namespace stagecoach
