#include "trainer/engine.h"

#include <fmt/ranges.h>

#include <cmath>
#include <deque>
#include <set>

#include "comm/collectives.h"
#include "comm/message.h"
#include "core/error.h"
#include "core/safetensors.h"
#include "core/system_memory.h"
#include "pipeline/memory_plan.h"
#include "pipeline/pipeline.h"
#include "pipeline/plain_loop.h"
#include "pipeline/process_pipeline.h"
#include "pipeline/profile.h"
#include "pipeline/schedule/check.h"
#include "trainer/words.h"

namespace stagecoach {
namespace {

LayerCosts parameter_counts(const std::vector<LayerPlan>& plans) {
  LayerCosts costs;
  for (const LayerPlan& plan : plans) {
    double count = 0;
    for (const ParameterSpec& p : plan.parameters) count += static_cast<double>(p.spec.elements());
    costs.push_back(count);
  }
  const double of_loss = costs.back();  // which is on the last layer's stage
  costs.pop_back();
  costs.back() += of_loss;
  return costs;
}

BatchResult sum_of(const StepResult& step, std::int64_t samples) {
  const auto* losses = step.losses.as<float>();
  BatchResult result;
  result.samples = samples;
  for (std::int64_t i = 0; i < samples; ++i) result.loss += losses[i];
  if (!step.correct.defined()) return result;  // the loss knows no right answers
  const auto* correct = step.correct.as<std::int32_t>();
  for (std::int64_t i = 0; i < samples; ++i) result.correct += correct[i];
  return result;
}

std::string cuts_of(const Partition& partition) {
  if (partition.stages() == 1) return "one stage";
  return fmt::format("cut at layer{} {}", partition.stages() == 2 ? "" : "s",
                     fmt::join(partition.first.begin() + 1, partition.first.end(), ","));
}

}  // namespace

class Engine::Impl {
 public:
  Impl(const Network& network, const TrainJob& job, const DeviceChoice& devices,
       const EngineOptions& options);

  void launch(const BatchView& batch);
  BatchResult finish();
  BatchResult eval_batch(const BatchView& batch);
  void save(const std::filesystem::path& file) const;
  void load(const std::filesystem::path& file);

 private:
  friend class Engine;  // what only hands a member out

  template <typename Loop>
  Loop& make_loop(const std::vector<LayerPlan>& plans, const PipelineOptions& options) {
    auto made = std::make_unique<Loop>(network_, plans, options);
    program_ = &made->program();
    Loop& loop = *made;
    loop_ = std::move(made);
    return loop;
  }
  TensorSpec input_spec(std::int64_t images) const;
  void check_least_memory(const std::vector<LayerPlan>& plans,
                          const PipelineOptions& options) const;
  LayerCosts measured_costs(const std::vector<LayerPlan>& plans) const;
  Partition choose_partition(const std::vector<LayerPlan>& plans);
  StepInput input_of(const BatchView& batch, bool training) const;
  [[noreturn]] void explain(const std::string& operation, const std::string& got,
                            const StepInput& input, const char* hint);
  std::string nonfinite_layer(const StepInput& input);
  void check_at_rest(const char* operation) const;  // no step in flight
  void check_not_torn(const char* operation) const;
  std::vector<StateEntry> weights() const;  // what a file of weights holds: buffers, too

  const Network network_;
  const TrainJob job_;
  const std::shared_ptr<const Optimizer> optimizer_;
  const DeviceChoice devices_;
  const std::function<void(const std::string&)> note_;
  TensorSpec targets_spec_;          // of a batch
  bool takes_samples_alone_ = true;  // no layer has statistics of a batch
  Partition partition_;
  std::string partition_text_;
  std::vector<std::int64_t> planned_without_recompute_;
  std::unique_ptr<TrainingLoop> loop_;
  const Program* program_ = nullptr;  // of loop_, unless it is the plain one
  std::int64_t steps_ = 0;
  bool torn_ = false;  // a step that failed was made by some of the stages
  std::deque<StepInput> in_flight_;
};

Engine::Engine(const Network& network, const TrainJob& job, const DeviceChoice& devices,
               const EngineOptions& options)
    : impl_(std::make_unique<Impl>(network, job, devices, options)) {}
Engine::~Engine() = default;

void Engine::launch(const BatchView& batch) {
  impl_->launch(batch);
}
int Engine::max_in_flight() const {
  return impl_->loop_->max_in_flight();
}
BatchResult Engine::finish() {
  return impl_->finish();
}
BatchResult Engine::eval_batch(const BatchView& batch) {
  return impl_->eval_batch(batch);
}
std::int64_t Engine::steps() const {
  return impl_->steps_;
}
void Engine::save(const std::filesystem::path& file) const {
  impl_->save(file);
}
void Engine::load(const std::filesystem::path& file) {
  impl_->load(file);
}
std::vector<StateEntry> Engine::state() const {
  return impl_->loop_->state();
}
void Engine::read_state(const std::function<Tensor(const StateEntry&)>& destination_of) const {
  impl_->check_at_rest("reading the state");
  impl_->check_not_torn("reading the state");
  for (const StateEntry& entry : state()) {
    impl_->loop_->read_state(entry.name, owns(entry) ? destination_of(entry) : Tensor{});
  }
}
bool Engine::owns(const StateEntry& entry) const {
  return impl_->loop_->owns_state(entry.name);
}
void Engine::restore(std::int64_t steps,
                     const std::function<void(const StateEntry&, const Tensor&)>& read) {
  impl_->check_at_rest("restoring the state");
  for (const StateEntry& entry : state()) {
    if (!impl_->loop_->has_state(entry.name)) continue;
    const OwnedTensor value(entry.spec);
    read(entry, value.tensor);
    impl_->loop_->set_state(entry.name, value.tensor);
  }
  impl_->steps_ = steps;
  impl_->torn_ = false;
}
const TrainingLoop& Engine::loop() const {
  return *impl_->loop_;
}
const Program* Engine::program() const {
  return impl_->program_;
}
const Partition& Engine::partition() const {
  return impl_->partition_;
}
const std::string& Engine::partition_text() const {
  return impl_->partition_text_;
}
const DeviceChoice& Engine::devices() const {
  return impl_->devices_;
}
const std::vector<std::int64_t>& Engine::planned_without_recompute() const {
  return impl_->planned_without_recompute_;
}

Engine::Impl::Impl(const Network& network, const TrainJob& job, const DeviceChoice& devices,
                   const EngineOptions& options)
    : network_(network),
      job_(job),
      optimizer_(job.optimizer.make()),
      devices_(devices),
      note_(options.note) {
  const std::vector<LayerPlan> plans =
      network_.plan(input_spec(job.micro_batch_size), devices_.target);
  targets_spec_ = plans.back().inputs[1];
  takes_samples_alone_ = std::ranges::all_of(
      plans, [](const LayerPlan& plan) { return plan.step_state.empty() && plan.buffers.empty(); });
  targets_spec_.shape = targets_spec_.shape.with(0, job.batch());
  PipelineOptions pipeline;
  pipeline.schedule = job.schedule;
  pipeline.target = devices_.target;
  pipeline.devices = devices_.devices;
  pipeline.eager = job.eager;
  pipeline.optimizer = optimizer_;
  pipeline.clip_norm = job.optimizer.clip_norm;
  pipeline.world = job.world;
  pipeline.watch = job.watch;
  pipeline.calibration = job.calibration;
  pipeline.replicas = job.replicas;
  pipeline.gradient_groups = job.gradient_groups;
  pipeline.shards_optimizer = job.zero > 0;
  pipeline.overlaps_update = job.overlap;
  pipeline.unordered_sum = job.fast_nondeterministic && job.replicas > 1;
  if (pipeline.unordered_sum) {
    note_(
        "--fast-nondeterministic: the transport adds the gradients of the replicas, in its own "
        "order, whose bits no checksum promises");
  }
  pipeline.loss_rows = job.batch();
  pipeline.other_bytes = options.other_bytes;
  check_least_memory(plans, pipeline);
  partition_ = choose_partition(plans);
  pipeline.partition = partition_;
  if (!job.pipeline) {
    loop_ = std::make_unique<PlainLoop>(network_, plans, pipeline);
  } else {
    if (job.recompute != Recompute::kNever) {  // a table may have R of its own
      planned_without_recompute_ = planned_bytes(network_, plans, pipeline);
      pipeline.schedule = with_recompute(job.schedule, job.recompute);
    }
    pipeline.recompute_interval = job.recompute_interval;
    if (job.world != nullptr) {
      make_loop<ProcessPipeline>(plans, pipeline);
    } else {
      for (const auto& [a, b] : make_loop<Pipeline>(plans, pipeline).apart()) {
        options.note(
            fmt::format("copies: cuda:{} and cuda:{} cannot reach each other's memory (peer "
                        "access); what their "
                        "stages send goes through the host's memory, which is slower",
                        a, b));
      }
    }
  }
  loop_->initialize(job.seed, job.init);
}

TensorSpec Engine::Impl::input_spec(std::int64_t images) const {
  return job_.input(images, devices_.dtype());
}

// What every split over one device needs, before the layers are measured: that takes a few
// micro-batches. Stages on several GPUs share it, so there the pipeline's own check decides.
void Engine::Impl::check_least_memory(const std::vector<LayerPlan>& plans,
                                      const PipelineOptions& options) const {
  if (devices_.devices.front() != devices_.devices.back()) return;
  const Device device = devices_.target.device;
  const std::int64_t available = available_memory_bytes(device);
  const auto least_bytes = [&](const std::vector<LayerPlan>& of_layers) {
    const StageGraph whole = stage_graph(network_, of_layers, 0, network_.size());
    return plan_memory(whole, memory_of_job(options)).arena.bytes();
  };
  const std::int64_t needed = least_bytes(plans) + options.other_bytes;
  if (needed <= available) return;
  // What would fit: halved until it does. The other bytes shrink with the batch, or stay.
  std::int64_t size = job_.micro_batch_size / 2;
  while (size >= 1 && least_bytes(network_.plan(input_spec(size), devices_.target)) +
                              options.other_bytes * size / job_.micro_batch_size >
                          available) {
    size /= 2;
  }
  check_memory("the smallest plan", needed, device,
               size >= 1 ? fmt::format("use smaller or fewer micro-batches: --micro-batch-size {} "
                                       "would fit",
                                       size)
                         : "not even --micro-batch-size 1 would fit: use smaller images");
}

// One process measures, so that all cut alike.
LayerCosts Engine::Impl::measured_costs(const std::vector<LayerPlan>& plans) const {
  World* const world = job_.world;
  if (world == nullptr) return measure_layers(network_, plans, devices_.target);
  MessageWriter writer;
  if (world->rank() == 0) writer.put(measure_layers(network_, plans, devices_.target));
  return MessageReader(broadcast(*world, writer.bytes())).get_all<double>();
}

Partition Engine::Impl::choose_partition(const std::vector<LayerPlan>& plans) {
  const PartitionKind kind = job_.partition.kind;
  const int stages = job_.stages();
  LayerCosts costs(static_cast<std::size_t>(network_.size()), 1.0);
  Partition partition = partition_by_cost(costs, stages);  // throws for too many stages
  const char* unit = "layers";
  if (kind == PartitionKind::kTime && stages > 1) {
    note_("measuring the time of each layer, to split the network");
    costs = measured_costs(plans);
    for (double& seconds : costs) seconds *= 1e3;
    unit = "ms";
  } else if (kind == PartitionKind::kParameters) {
    costs = parameter_counts(plans);
    unit = "parameters";
  }
  partition = kind == PartitionKind::kCuts
                  ? partition_at(job_.partition.cuts, network_.size(), stages)
              : kind == PartitionKind::kTime && job_.pipeline
                  ? partition_by_makespan(costs, check(job_.schedule))
                  : partition_by_cost(costs, stages);
  partition_text_ = fmt::format("{} ({})", kind == PartitionKind::kCuts ? "given" : name_of(kind),
                                cuts_of(partition));
  if (stages > 1) {
    std::string table = describe(partition, costs, unit);
    table.pop_back();  // the note ends the line
    note_("partition " + partition_text_ + "\n" + table);
  }
  return partition;
}

StepInput Engine::Impl::input_of(const BatchView& batch, bool training) const {
  const Device device = loop_->stages().front()->context().device();
  check_tensor(device, "Engine", "images", batch.inputs, input_spec(job_.batch()));
  check_tensor(device, "Engine", "targets", batch.targets, targets_spec_);
  StepInput input;
  input.images = batch.inputs;
  input.targets = batch.targets;
  input.samples = batch.count < 0 ? job_.batch() : batch.count;
  input.ready = batch.ready;
  input.micro.seed = job_.seed;
  input.micro.step = steps_;
  input.micro.training = training;
  if (training) input.optimizer = optimizer_.get();
  return input;
}

void Engine::Impl::launch(const BatchView& batch) {
  StepInput input = input_of(batch, true);
  STAGECOACH_CHECK(is_full(input) ||
                       (takes_samples_alone_ && input.samples >= 1 && input.samples < job_.batch()),
                   "training step",
                   fmt::format("{}{} samples{}", takes_samples_alone_ ? "1 to " : "", job_.batch(),
                               takes_samples_alone_ ? "" : ", as layers have statistics of them"),
                   fmt::format("{}", input.samples));
  input.micro.step += std::ssize(in_flight_);
  loop_->launch(input);
  in_flight_.push_back(input);
}

BatchResult Engine::Impl::finish() {
  STAGECOACH_CHECK(!in_flight_.empty(), "Engine::finish", "a training step in flight", "none");
  const StepInput input = in_flight_.front();
  in_flight_.pop_front();
  try {
    BatchResult result = sum_of(loop_->finish(), input.samples);
    result.gradient_norm = loop_->gradient_norm(input.micro.step);
    ++steps_;
    return result;
  } catch (const NumericError& error) {
    in_flight_.clear();
    explain(fmt::format("training step {}", steps_ + 1), error.message(), input,
            "the weights are those before this step; try a smaller --lr");
  } catch (...) {
    in_flight_.clear();
    torn_ = torn_ || !loop_->stages_agree();
    throw;
  }
}

BatchResult Engine::Impl::eval_batch(const BatchView& batch) {
  check_at_rest("Engine::eval_batch");
  const StepInput input = input_of(batch, false);
  const BatchResult result = sum_of(loop_->run(input), input.samples);
  if (!std::isfinite(result.loss)) {
    explain(fmt::format("evaluation after training step {}", steps_),
            fmt::format("{}", result.loss), input, "try a smaller --lr");
  }
  return result;
}

void Engine::Impl::explain(const std::string& operation, const std::string& got,
                           const StepInput& input, const char* hint) {
  const std::string layer = nonfinite_layer(input);
  throw NumericError(operation, "a finite loss", layer.empty() ? got : layer, hint);
}

// The first layer whose output is not finite, and which of its parameters are not either; empty
// where there is none.
std::string Engine::Impl::nonfinite_layer(const StepInput& input) {
  const auto found = loop_->first_nonfinite(input, job_.micro_batches() * job_.replicas);
  if (!found) return "";
  const NamedLayer& named = network_[found->layer];
  std::string text =
      fmt::format("infinity or NaN in the output of layer {}, {} {}, for micro-batch {}",
                  found->layer, named.name, named.layer->describe(), found->micro_batch);
  for (const StateEntry& entry : weights()) {
    const bool own = entry.name.starts_with(named.name + ".");
    if (own && !loop_->is_finite(entry.name)) text += ", and in " + entry.name;
  }
  return text;
}

std::vector<StateEntry> Engine::Impl::weights() const {
  std::vector<StateEntry> entries = loop_->state();
  std::erase_if(entries,
                [](const StateEntry& entry) { return entry.kind == StateKind::kOptimizerState; });
  return entries;
}

void Engine::Impl::check_at_rest(const char* operation) const {
  STAGECOACH_CHECK(in_flight_.empty(), operation, "no training step in flight",
                   fmt::format("{}", in_flight_.size()));
}

void Engine::Impl::check_not_torn(const char* operation) const {
  STAGECOACH_CHECK(
      !torn_, operation, "stages that have made the same steps",
      fmt::format("some that have made step {}, which failed, and some that have not", steps_ + 1),
      "nothing was saved");
}

void Engine::Impl::save(const std::filesystem::path& file) const {
  check_not_torn("saving the weights");
  // The loss of the last step is that of the weights before it.
  for (const StateEntry& entry : weights()) {
    if (loop_->is_finite(entry.name)) continue;
    throw NumericError(
        "saving the weights", "finite weights",
        fmt::format("infinity or NaN in {} after training step {}", entry.name, steps_),
        "nothing was saved; try a smaller --lr");
  }
  std::deque<OwnedTensor> values;
  std::vector<NamedTensor> tensors;
  for (const StateEntry& entry : weights()) {
    tensors.push_back({entry.name, values.emplace_back(loop_->get_state(entry.name)).tensor});
  }
  if (job_.world != nullptr && job_.world->rank() != 0) return;
  write_safetensors(file, tensors, {{"format", "pt"}, {"model", network_.name()}});
}

void Engine::Impl::load(const std::filesystem::path& file) {
  const SafetensorsFile stored(file);
  std::set<std::string> converted;
  for (const StateEntry& entry : weights()) {
    stored.check(entry.name, entry.spec, "the file holds weights of another network");
    const std::string& dtype = stored.entry(entry.name).dtype;
    if (dtype != name_of(entry.spec.dtype)) converted.insert(dtype);
  }
  if (!converted.empty()) {
    note_(fmt::format("'{}' holds weights in {}: converted to F32", file.string(),
                      fmt::join(converted, " and ")));
  }
  for (const StateEntry& entry : weights()) {
    if (!loop_->has_state(entry.name)) continue;
    const OwnedTensor read(entry.spec);
    stored.read(entry.name, read.tensor);
    loop_->set_state(entry.name, read.tensor);
  }
  torn_ = false;
}

}  // namespace stagecoach
