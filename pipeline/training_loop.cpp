#include "pipeline/training_loop.h"

#include <algorithm>
#include <utility>

#include "core/copy.h"
#include "core/error.h"
#include "kernels/gradient_norm.h"
#include "kernels/step.h"
#include "pipeline/replica_exchange.h"

namespace stagecoach {
namespace {

// A CPU's optimizer waits for the end of the table, as what fails before must change no weight.
bool works_beside(const PipelineOptions& options, int replicas) {
  const bool updates = options.target.device.type != DeviceType::kCpu && !(options.clip_norm > 0);
  return options.overlaps_update && (replicas > 1 || updates);
}

}  // namespace

int TrainingLoop::max_in_flight() {
  return launcher() != nullptr ? launcher()->max_in_flight() : 1;
}

void TrainingLoop::launch(const StepInput& input) {
  if (StepLauncher* gpus = launcher()) {
    return gpus->launch(input, [&] { enqueue(input); });
  }
  STAGECOACH_CHECK(!launched_, "TrainingLoop::launch", "no step in flight", "one");
  launched_ = input;
}

StepResult TrainingLoop::finish() {
  if (StepLauncher* gpus = launcher()) return gpus->finish();
  STAGECOACH_CHECK(launched_.has_value(), "TrainingLoop::finish", "a step in flight", "none");
  const StepInput input = *std::exchange(launched_, std::nullopt);
  guard().begin(false);
  run_on_cpu(input);
  const StepResult result = step_result();
  guard().check(input, result.losses);
  return result;
}

StepResult TrainingLoop::step_result() const {
  return {stages().back()->losses(), stages().back()->correct()};
}

std::optional<double> TrainingLoop::gradient_norm(std::int64_t step) const {
  if (clip() == nullptr) return std::nullopt;
  return clip()->norm(step);
}

std::vector<Stage*> TrainingLoop::all_stages() const {
  std::vector<Stage*> all;
  for (const auto& stage : stages()) all.push_back(stage.get());
  return all;
}

void TrainingLoop::make_clip(const PipelineOptions& options,
                             const std::vector<std::unique_ptr<Stage>>& replica,
                             std::int64_t parameters) {
  if (!(options.clip_norm > 0)) return;
  std::vector<Context*> contexts;
  contexts.reserve(replica.size());
  for (const auto& stage : replica) contexts.push_back(&stage->context());
  clips_.push_back(std::make_unique<GradientClip>(contexts, parameters, options.clip_norm));
}

bool TrainingLoop::stages_agree() const {
  return std::ranges::all_of(all_stages(), [&](const Stage* stage) {
    const FlatParameters::Updates& made = stage->flat().updates();
    return stage->context().device() == Device{} && made.begun == made.ended &&
           made == stages().front()->flat().updates();
  });
}

void TrainingLoop::initialize(std::uint64_t seed, InitScheme scheme) {
  for (Stage* stage : all_stages()) {
    stage->initialize(seed, scheme);
    stage->context().stream().synchronize();
  }
}

std::vector<StateEntry> TrainingLoop::state() const {
  std::vector<StateEntry> all;
  for (const auto& stage : stages()) {
    const std::vector<StateEntry>& own = stage->state().entries();
    all.insert(all.end(), own.begin(), own.end());
  }
  return all;
}

bool TrainingLoop::has_state(const std::string& name) const {
  return std::ranges::any_of(stages(), [&](const auto& stage) { return stage->state().has(name); });
}

OwnedTensor TrainingLoop::get_state(const std::string& name) const {
  for (const StateEntry& entry : state()) {
    if (entry.name != name) continue;
    OwnedTensor value(entry.spec);
    read_state(name, value.tensor);
    return value;
  }
  throw Error("TrainingLoop", "the name of a state", name);
}

void TrainingLoop::read_state(const std::string& name, const Tensor& destination) const {
  for (const Stage* stage : holders_of(name)) stage->state().read(name, destination);
}

void TrainingLoop::set_state(const std::string& name, const Tensor& value) {
  holders_of(name);  // throws where there is none
  for (Stage* stage : all_stages()) {
    if (stage->state().has(name)) stage->set_state(name, value);
  }
}

bool TrainingLoop::is_finite(const std::string& name) const {
  return std::ranges::all_of(holders_of(name),
                             [&](const Stage* stage) { return stage->state().is_finite(name); });
}

std::vector<StageSummary> TrainingLoop::summaries() const {
  std::vector<StageSummary> all;
  for (const auto& stage : stages()) all.push_back(stage->summary());
  return all;
}

std::optional<TrainingLoop::NonFinite> TrainingLoop::first_nonfinite(const StepInput& input,
                                                                     std::int64_t micro_batches) {
  for (const auto& stage : stages()) begin_step(stage->context(), values_of(input));
  const std::int64_t rows = input.images.shape()[0] / micro_batches;
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    MicroBatch micro = micro_batch_of(input, m, rows);
    micro.index = 0;  // of a step of its own; a stage has no more than a replica's
    std::vector<Tensor> fed = {rows_of(input.images, micro.first_sample, rows)};
    for (const auto& stage : stages()) {
      stage->begin_step();
      const std::vector<Tensor> received = stage->receive_inputs(micro.index);
      if (!received.empty()) {
        Stream& stream = stage->context().stream();
        for (std::size_t i = 0; i < fed.size(); ++i) copy(stream, received[i], fed[i]);
        stream.synchronize();
        fed = received;
      }
      const int layer = stage->first_nonfinite_layer(fed, micro);
      if (layer >= 0) return NonFinite{layer, m};
      fed = stage->outputs(micro.index);
    }
  }
  return std::nullopt;
}

std::vector<const Stage*> TrainingLoop::holders_of(const std::string& state) const {
  std::vector<const Stage*> holders;
  for (const Stage* stage : all_stages()) {
    if (!stage->state().has(state)) continue;
    if (stage->state().is_whole(state)) return {stage};
    holders.push_back(stage);
  }
  STAGECOACH_CHECK(!holders.empty(), "TrainingLoop", "the name of a state", state);
  return holders;
}

std::unique_ptr<Context> make_side_context(const PipelineOptions& options, int most_replicas,
                                           Target target) {
  if (!works_beside(options, most_replicas)) return nullptr;
  target.threads = 1;
  return std::make_unique<Context>(target);
}

StageMemory memory_of_job(const PipelineOptions& options, int replicas_in_table, int groups) {
  StageMemory memory;
  memory.micro_batches = options.schedule.micro_batches / replicas_in_table;
  memory.replicas = options.replicas * replicas_in_table;
  memory.gradient_groups = options.gradient_groups / memory.replicas;
  memory.runs = groups / replicas_in_table;
  memory.loss_rows = options.loss_rows;
  memory.optimizer_states = static_cast<int>(options.optimizer->states().size());
  if (options.clip_norm > 0) memory.least_workspace_bytes = kSumOfSquaresWorkspace;
  const bool several = memory.replicas > 1;
  memory.shards_optimizer = options.shards_optimizer && several;
  if (works_beside(options, memory.replicas)) memory.bucket_bytes = options.bucket_bytes;
  if (options.world != nullptr && several) memory.exchange_bytes = kExchangeBytes;
  return memory;
}

}  // namespace stagecoach
