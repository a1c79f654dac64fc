// TrainingLoop: a network that trains, as a pipeline or not.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/watch.h"
#include "pipeline/gradient_clip.h"
#include "pipeline/schedule/partition.h"
#include "pipeline/schedule/schedule.h"
#include "pipeline/step_launcher.h"

namespace stagecoach {

class Calibration;
struct PipelineOptions;

// Runs training steps and evaluations over a network that is split into stages, or is not.
class TrainingLoop {
 public:
  virtual ~TrainingLoop() = default;
  // Steps that may be launched and not finished: two of them, once they are captured graphs.
  int max_in_flight();
  // Begins a step, on the batch that `input` names: which stays as it is until the step is
  // finished, and is no other step's in flight. On the CPU the step runs in finish().
  virtual void launch(const StepInput& input);
  // Waits for the step that was launched first; what it gave stays until the next launch.
  // Throws the first error of any stage. When it was a NumericError, weights are as before that
  // step, and steps launched behind it are dropped; for any other, stages that had all their
  // gradients may have made their step. The next step begins anew.
  virtual StepResult finish();
  StepResult run(const StepInput& input) {
    launch(input);
    return finish();
  }
  // Of all gradients of the training step that was finished last, before they were clipped; none
  // where they are not. `step`: its number, from 0.
  virtual std::optional<double> gradient_norm(std::int64_t step) const;
  // What the step that was finished last did, in seconds since `origin`; until the next launch.
  virtual std::vector<TraceEvent> trace(Clock::time_point origin, std::int64_t step) const = 0;
  // Of the first replica of each, if there are several: what they hold is the same. Of this
  // process.
  virtual const std::vector<std::unique_ptr<Stage>>& stages() const = 0;

  // Rows of a batch of so many whose inputs this process reads; it reads all targets.
  struct Rows {
    std::int64_t first = 0, count = 0;
  };
  virtual Rows input_rows(std::int64_t batch) const { return {0, batch}; }

  // Whether all stages have made the same steps of the optimizer. On a GPU, after a failure that
  // was no NumericError, nobody knows, and it is false.
  virtual bool stages_agree() const;

  // What follows is asked of the stages by values, and blocks; not while a step is in flight.
  // Initial weights: see Stage::initialize().
  void initialize(std::uint64_t seed, InitScheme scheme = InitScheme::kTorch);
  // Of all stages, in the network's order; see StateDict.
  virtual std::vector<StateEntry> state() const;
  // Whether its value is in this process, and whether this one answers for it: see ProcessPipeline.
  bool has_state(const std::string& name) const;
  virtual bool owns_state(const std::string& name) const { return has_state(name); }
  virtual OwnedTensor get_state(const std::string& name) const;
  virtual void read_state(const std::string& name, const Tensor& destination) const;
  virtual void set_state(const std::string& name, const Tensor& value);
  virtual bool is_finite(const std::string& name) const;
  virtual std::vector<StageSummary> summaries() const;
  // The first output that is not finite when the step runs again, one micro-batch after another.
  struct NonFinite {
    int layer = 0;
    std::int64_t micro_batch = 0;
  };
  virtual std::optional<NonFinite> first_nonfinite(const StepInput& input,
                                                   std::int64_t micro_batches);

 protected:
  virtual StepLauncher* launcher() = 0;  // on GPUs; null on the CPU
  virtual StepGuard& guard() = 0;
  // Of all replicas.
  virtual std::vector<Stage*> all_stages() const;
  // Made where the gradients are clipped, once a replica's stages are there; the first one's first.
  // `parameters`: of the network.
  void make_clip(const PipelineOptions& options, const std::vector<std::unique_ptr<Stage>>& replica,
                 std::int64_t parameters);
  const GradientClip* clip(std::size_t replica = 0) const {
    return clips_.empty() ? nullptr : clips_[replica].get();
  }
  virtual void enqueue(const StepInput& input) = 0;
  // On the CPU; blocks. step_result(): then, by default the last stage's tensors.
  virtual void run_on_cpu(const StepInput& input) = 0;
  virtual StepResult step_result() const;

 private:
  // Whose parts of it are all of it. Error where there is none.
  std::vector<const Stage*> holders_of(const std::string& state) const;

  std::optional<StepInput> launched_;                 // on the CPU
  std::vector<std::unique_ptr<GradientClip>> clips_;  // by replica
};

struct PipelineOptions {
  Partition partition;
  // Of training, with or without communication; stages as in the partition. A stage may be on
  // several ranks, on threads.
  Schedule schedule;
  // With an R in the schedule: the layers whose F runs a second time at once; 0: all of a stage.
  int recompute_interval = 0;
  Target target;  // of each rank
  // Of each rank, where they are not all the target's device.
  std::vector<Device> devices;
  bool eager = false;  // on GPUs: enqueue every step anew, instead of launching a captured graph
  std::shared_ptr<const Optimizer> optimizer = make_sgd(0.01f);
  double clip_norm = 0;  // of the gradients of all stages: see GradientClip; 0: never
  // Copies of all of the table's ranks, each of which trains a part of the batch: a power of two.
  // On GPUs, in processes of their own.
  int replicas = 1;
  int gradient_groups = 1;  // see GradientTree; a multiple of the most replicas of a stage
  // Of several replicas: whether each keeps the optimizer's states of a share of the parameters
  // only, and updates that (ZeRO-1).
  bool shards_optimizer = false;
  // Whether the gradients of replicas are summed while W of other layers runs, and on GPUs, where
  // they are not clipped, parameters are updated then, too.
  bool overlaps_update = false;
  // Gradients of replicas in processes are added by the transport, in its own order: see
  // make_unordered_sum(). Not with `shards_optimizer`.
  bool unordered_sum = false;
  std::int64_t bucket_bytes = kBucketBytes;  // what is summed at a time then
  // The processes of the job, each with one rank of one replica: see ProcessPipeline. Null: all
  // ranks of all replicas are threads of this one.
  World* world = nullptr;
  Watch* watch = nullptr;  // is told what this process does; may be null
  // Of these processes' clocks, for the trace; null: they have one.
  const Calibration* calibration = nullptr;
  std::int64_t loss_rows = 0;    // samples in a step, of all replicas
  std::int64_t other_bytes = 0;  // that the process will need beside the stages
};

// Of a rank of this target: where what can be done of the update runs beside W; null where nothing
// can. `most_replicas`: of any stage.
std::unique_ptr<Context> make_side_context(const PipelineOptions& options, int most_replicas,
                                           Target target);

// What the memory of every stage has of the job: micro-batches, samples, states of the optimizer.
// Of a stage with so many replicas in the table, of `groups` that it has.
StageMemory memory_of_job(const PipelineOptions& options, int replicas_in_table = 1,
                          int groups = 1);

}  // namespace stagecoach
