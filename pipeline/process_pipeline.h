// ProcessPipeline: one rank of one replica of a pipeline whose others are other processes. They lie
// in row-major order over the axes (rank of the pipeline, replica), as DeepSpeed's do: process p
// has rank p / R of replica p mod R. Each has a CPU, or a GPU of its own, by the device
// of its target.
//
// Calls that say so are collective: all processes make them, in the same order. After an error that
// is no NumericError the job is over, in all of them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "comm/collectives.h"
#include "pipeline/executor.h"
#include "pipeline/pipeline_plan.h"
#include "pipeline/process_links.h"
#include "pipeline/training_loop.h"

namespace stagecoach {

class ProcessPipeline : public TrainingLoop {
 public:
  // `options.world` is there, and has a process for each rank of each replica: else Error. The rest
  // is as for a Pipeline, and the same in all processes. Collective.
  ProcessPipeline(const Network& network, const std::vector<LayerPlan>& plans,
                  const PipelineOptions& options);
  ~ProcessPipeline() override;

  void launch(const StepInput& input) override;
  StepResult finish() override;

  // In process 0 of all ranks of the first replica, elsewhere of none.
  std::vector<TraceEvent> trace(Clock::time_point origin, std::int64_t step) const override;
  // Of this process.
  const std::vector<std::unique_ptr<Stage>>& stages() const override { return stages_; }
  const Program& program() const { return plan_.training; }

  std::optional<double> gradient_norm(std::int64_t) const override { return gradient_norm_; }
  Rows input_rows(std::int64_t batch) const override;
  bool stages_agree() const override { return !failed_; }
  std::vector<StateEntry> state() const override;
  // Collective; in process 0 the value, elsewhere undefined.
  OwnedTensor get_state(const std::string& name) const override;
  // Collective; `destination` is defined in the process that owns it.
  void read_state(const std::string& name, const Tensor& destination) const override;
  // Processes of the first replica own what they have.
  bool owns_state(const std::string& name) const override;
  void set_state(const std::string& name, const Tensor& value) override;
  // Collective.
  bool is_finite(const std::string& name) const override;
  std::vector<StageSummary> summaries() const override;
  std::optional<NonFinite> first_nonfinite(const StepInput& input,
                                           std::int64_t micro_batches) override;

 protected:
  StepLauncher* launcher() override { return launcher_ ? &*launcher_ : nullptr; }
  StepGuard& guard() override { return *guard_; }
  void enqueue(const StepInput& input) override;
  void run_on_cpu(const StepInput& input) override;
  StepResult step_result() const override;

 private:
  struct Place {  // of a stage, or a process
    int rank = 0, replica = 0;
  };
  // What all processes know of a stage's state.
  struct RemoteEntry {
    StateEntry entry;
    int process = 0;              // of the first replica; those of the others follow it
    std::vector<Elements> parts;  // what each replica answers for
  };

  int process_of(int rank, int replica) const { return rank * replicas_ + replica; }
  int process_of_stage(int stage, int replica) const {
    return process_of(program().rank_of(stage), replica);
  }
  Stage* own_stage(int stage) const;  // null: another rank's
  std::vector<Context*> contexts() const {
    if (side_context_ == nullptr) return {context_.get()};
    return {context_.get(), side_context_.get()};
  }
  void make_stages(const Network& network, const std::vector<LayerPlan>& plans,
                   const PipelineOptions& options);
  void make_executor(const Network& network, const std::vector<LayerPlan>& plans);
  void link_neighbours(std::map<int, LinkedStage>& linked);
  void link_replicas(std::map<int, LinkedStage>& linked);
  void link_norms(std::map<int, LinkedStage>& linked, const std::vector<int>& parameters_before);
  void share_entries();
  void make_launcher(const PipelineOptions& options);
  // What this process throws ends the job, but a NumericError, which all throw.
  template <typename Body>
  auto with_others(const Body& body);
  const Program& program_of(const StepInput& input) const {
    return input.micro.training ? plan_.training : plan_.evaluation;
  }
  // `step`: its number, from 0.
  StepResult share_results(std::int64_t step, const StepResult& own);
  ByteVector own_results(const StepResult& own) const;
  std::vector<TraceEvent> own_trace() const;
  std::vector<int> machines_of_ranks() const;
  void collect(const ByteVector& results, int replica);
  const RemoteEntry& entry_of(const std::string& name) const;
  const StateDict& own_holder(const std::string& name) const;
  void collect_state(const RemoteEntry& remote, int root, const Tensor& destination) const;
  // Of first_nonfinite(): from the stage before, and to the one after.
  std::vector<Tensor> message_for_search(int stage, const Tensor& images) const;
  void hand_on_for_search(int stage) const;

  PipelinePlan plan_;
  World& world_;
  Watch* const watch_;
  const Calibration* const calibration_;
  const int replicas_;
  const bool unordered_sum_;
  const Place place_;
  std::unique_ptr<Context> context_, side_context_;  // see make_side_context()
  std::optional<StepGuard> guard_;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<int> numbers_;  // of these, in the pipeline
  std::optional<ProcessLinks> links_;
  std::unique_ptr<Executor> executor_;
  std::optional<StepLauncher> launcher_;  // on a GPU
  std::vector<RemoteEntry> entries_;      // of the whole network
  // Of the step that was finished last, of all replicas.
  std::optional<OwnedTensor> losses_, correct_;
  std::optional<double> gradient_norm_;
  std::vector<TraceEvent> trace_;  // seconds of process 0's clock
  bool failed_ = false;
};

}  // namespace stagecoach
