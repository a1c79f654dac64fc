// Pipeline: all ranks of a training job in one process, a stream for each; on the CPU a thread,
// too. With several replicas, each has all of the schedule's ranks.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "comm/rendezvous.h"
#include "core/worker.h"
#include "pipeline/executor.h"
#include "pipeline/pipeline_plan.h"

namespace stagecoach {

class Pipeline : public TrainingLoop {
 public:
  // `plans`: of all layers, for one micro-batch. Checks the schedule, plans the memory of all
  // stages and refuses what the machine cannot hold, before it allocates. Throws Error.
  Pipeline(const Network& network, const std::vector<LayerPlan>& plans, PipelineOptions options);
  ~Pipeline() override;

  std::vector<TraceEvent> trace(Clock::time_point origin, std::int64_t step) const override;
  const std::vector<std::unique_ptr<Stage>>& stages() const override { return replicas_[0].stages; }
  // GPUs, by number, that cannot reach each other's memory: messages between their stages, and the
  // batch's targets, go through the host's.
  const std::set<std::pair<int, int>>& apart() const { return apart_; }
  // What runs: with communication and optimizer steps.
  const Program& program() const { return plan_.training; }

 protected:
  StepLauncher* launcher() override { return launcher_ ? &*launcher_ : nullptr; }
  StepGuard& guard() override { return *guard_; }
  std::vector<Stage*> all_stages() const override;
  void enqueue(const StepInput& input) override;
  void run_on_cpu(const StepInput& input) override;

 private:
  struct Replica {
    std::vector<std::unique_ptr<Context>> contexts;       // per rank
    std::vector<std::unique_ptr<Context>> side_contexts;  // likewise; see make_side_context()
    std::vector<std::unique_ptr<Stage>> stages;           // the first replica of each in the table
    std::vector<std::unique_ptr<Stage>> further;       // the others, one stage's after the other's
    std::vector<std::unique_ptr<Executor>> executors;  // per rank
  };
  using Linked = std::vector<std::map<int, LinkedStage>>;  // per rank, by stage

  void make_contexts(const PipelineOptions& options);
  void connect();
  void make_stages(const Network& network, const std::vector<LayerPlan>& plans,
                   const PipelineOptions& options);
  void make_executors();
  Linked link_stages(Replica& replica);
  void link_neighbours(Linked& linked, int upper);
  void link_norms(Linked& linked);
  void link_replicas(std::vector<Linked>& linked);
  Channel* make_signal();
  void make_drivers(const std::vector<LayerPlan>& plans, const PipelineOptions& options);
  // Of all ranks of all replicas, and then what runs beside them.
  std::vector<Context*> contexts() const;
  const Program& training() const { return plan_.training; }
  Context& context_of(const Replica& replica, std::size_t stage) const;
  const Placement& placement() const { return training().placement(); }
  // Of a stage's replicas in the table.
  Stage& stage_of(const Replica& replica, int stage, int in_table) const;
  Replica& first() { return replicas_.front(); }
  void collect_results() const;

  PipelinePlan plan_;
  std::vector<Replica> replicas_;
  std::set<std::pair<int, int>> apart_;
  std::optional<StepGuard> guard_;
  std::shared_ptr<Rendezvous> rendezvous_ = std::make_shared<Rendezvous>();
  std::vector<std::unique_ptr<Channel>> channels_;
  std::vector<std::unique_ptr<ReplicaSum>> sums_;
  std::vector<std::unique_ptr<Worker>> threads_;  // per replica and rank; they use what is above
  std::optional<OwnedTensor> targets_;            // the last stage's, when on another GPU
  std::optional<StepLauncher> launcher_;          // on GPUs, instead of threads_
};

}  // namespace stagecoach
