#include "trainer/engine.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/copy.h"
#include "core/error.h"
#include "core/safetensors.h"
#include "core/system_memory.h"
#include "pipeline/memory_plan.h"
#include "pipeline/plain_loop.h"
#include "pipeline/profile.h"
#include "pipeline/schedule/check.h"

namespace stagecoach {
namespace {

Optimizer optimizer_of(const TrainConfig& config) {
  Optimizer optimizer;
  const auto learning_rate = static_cast<float>(config.learning_rate);
  const auto weight_decay = static_cast<float>(config.weight_decay);
  if (config.optimizer == "adam") {
    optimizer.kind = Optimizer::Kind::kAdam;
    optimizer.adam.learning_rate = learning_rate;
    optimizer.adam.weight_decay = weight_decay;
  } else {
    optimizer.sgd = {learning_rate, static_cast<float>(config.momentum), weight_decay};
  }
  return optimizer;
}

LayerCosts parameter_counts(const std::vector<LayerPlan>& plans) {
  LayerCosts costs;
  for (const LayerPlan& plan : plans) {
    double count = 0;
    for (const ParameterSpec& p : plan.parameters) count += static_cast<double>(p.spec.elements());
    costs.push_back(count);
  }
  return costs;
}

// The tensor, or where it lies on a GPU a copy that goes to `copies`.
Tensor on_host(const Stage& stage, const Tensor& tensor, std::deque<OwnedTensor>& copies) {
  if (tensor.device.type == DeviceType::kCpu) return tensor;
  return copies.emplace_back(to_host(stage.context().stream(), tensor)).tensor;
}

TrainConfig without_recompute(TrainConfig config) {
  config.recompute = "never";
  return config;
}

BatchResult sum_of(const StepResult& step, std::int64_t samples) {
  const auto* losses = step.losses.as<float>();
  const auto* correct = step.correct.as<std::int32_t>();
  BatchResult result;
  result.samples = samples;
  for (std::int64_t i = 0; i < samples; ++i) {
    result.loss += losses[i];
    result.correct += correct[i];
  }
  return result;
}

std::string cuts_of(const Partition& partition) {
  if (partition.stages() == 1) return "one stage";
  return fmt::format("cut at layer{} {}", partition.stages() == 2 ? "" : "s",
                     fmt::join(partition.first.begin() + 1, partition.first.end(), ","));
}

}  // namespace

TensorSpec input_spec(const TrainConfig& config, const DeviceChoice& devices, std::int64_t images) {
  return channels_last(images, 3, config.image_size, config.image_size, devices.dtype());
}

Engine::Engine(const Network& network, const TrainConfig& config, std::int64_t other_bytes,
               const std::function<void(const std::string&)>& note)
    : network_(network),
      config_(config),
      devices_(choose_devices(config)),
      optimizer_(optimizer_of(config)) {
  const std::vector<LayerPlan> plans =
      network.plan(input_spec(config.micro_batch_size), devices_.target);
  check_least_memory(plans, other_bytes);
  partition_ = choose_partition(plans, note);

  PipelineOptions options;
  options.partition = partition_;
  options.schedule = schedule_of(config);
  options.recompute_interval = config.recompute_interval;
  options.target = devices_.target;
  options.devices = devices_.devices;
  options.eager = config.eager;
  options.optimizer = optimizer_;
  options.loss_rows = config.batch();
  options.other_bytes = other_bytes;
  if (config.stages == 0) {
    loop_ = std::make_unique<PlainLoop>(network, plans, options);
  } else {
    if (config.recompute != "never") {
      PipelineOptions keeping = options;
      keeping.schedule = schedule_of(without_recompute(config));
      keeping.recompute_interval = 0;
      planned_without_recompute_ = planned_bytes(plans, keeping);
    }
    auto pipeline = std::make_unique<Pipeline>(network, plans, options);
    pipeline_ = pipeline.get();
    loop_ = std::move(pipeline);
  }
  for (const auto& stage : loop_->stages()) {
    stage->initialize(config.seed);
    stage->context().stream().synchronize();
  }
}

TensorSpec Engine::input_spec(std::int64_t images) const {
  return stagecoach::input_spec(config_, devices_, images);
}

std::int64_t Engine::least_bytes(const std::vector<LayerPlan>& plans) const {
  StageMemory whole;
  whole.loss_rows = config_.batch();
  whole.optimizer_states = optimizer_.states();
  return plan_memory(plans, whole).arena.bytes();
}

// What every split over one device needs, before the layers are measured: that takes a few
// micro-batches. Stages on several GPUs share it, so there the pipeline's own check decides.
void Engine::check_least_memory(const std::vector<LayerPlan>& plans,
                                std::int64_t other_bytes) const {
  if (devices_.devices.front() != devices_.devices.back()) return;
  const Device device = devices_.target.device;
  const std::int64_t available = available_memory_bytes(device);
  const std::int64_t needed = least_bytes(plans) + other_bytes;
  if (needed <= available) return;
  // What would fit: halved until it does. The other bytes shrink with the batch, or stay.
  std::int64_t size = config_.micro_batch_size / 2;
  while (size >= 1 && least_bytes(network_.plan(input_spec(size), devices_.target)) +
                              other_bytes * size / config_.micro_batch_size >
                          available) {
    size /= 2;
  }
  check_memory("the smallest plan", needed, device,
               size >= 1 ? fmt::format("use smaller or fewer micro-batches: --micro-batch-size {} "
                                       "would fit",
                                       size)
                         : "not even --micro-batch-size 1 would fit: use smaller images");
}

Partition Engine::choose_partition(const std::vector<LayerPlan>& plans,
                                   const std::function<void(const std::string&)>& note) {
  const std::int64_t stages = config_.pieces();
  const LayerCosts ones(plans.size(), 1.0);
  Partition partition = partition_by_cost(ones, stages);  // throws for too many stages
  LayerCosts costs = ones;
  const char* unit = "layers";
  if (config_.partition == "time" && stages > 1) {
    note("measuring the time of each layer, to split the network");
    costs = measure_layers(network_, plans, devices_.target);
    for (double& seconds : costs) seconds *= 1e3;
    unit = "ms";
  } else if (config_.partition == "parameters") {
    costs = parameter_counts(plans);
    unit = "parameters";
  }
  const bool explicit_cuts = has_cuts(config_);
  partition = explicit_cuts ? partition_from_text(config_.partition, network_.size(), stages)
              : config_.partition == "time"
                  ? partition_by_makespan(costs, check(schedule_of(without_recompute(config_))))
                  : partition_by_cost(costs, stages);
  partition_text_ =
      fmt::format("{} ({})", explicit_cuts ? "given" : config_.partition, cuts_of(partition));
  if (stages > 1) {
    std::string table = describe(partition, costs, unit);
    table.pop_back();  // the note ends the line
    note("partition " + partition_text_ + "\n" + table);
  }
  return partition;
}

StepInput Engine::input_of(const Batch& batch, bool training) const {
  check_tensor(loop_->stages().front()->context(), "Engine", "images", batch.images.tensor,
               input_spec(config_.batch()));
  StepInput input;
  input.images = batch.images.tensor;
  input.labels = batch.labels.tensor;
  input.ready = batch.ready;
  input.micro.seed = config_.seed;
  input.micro.step = steps_;
  input.micro.training = training;
  if (training) input.optimizer = &optimizer_;
  return input;
}

void Engine::launch(const Batch& batch) {
  STAGECOACH_CHECK(batch.count == config_.batch(), "training step",
                   fmt::format("{} samples", config_.batch()), fmt::format("{}", batch.count));
  StepInput input = input_of(batch, true);
  input.micro.step += std::ssize(in_flight_);
  loop_->launch(input);
  in_flight_.push_back(input);
}

BatchResult Engine::finish() {
  STAGECOACH_CHECK(!in_flight_.empty(), "Engine::finish", "a training step in flight", "none");
  const StepInput input = in_flight_.front();
  in_flight_.pop_front();
  try {
    const BatchResult result = sum_of(loop_->finish(), config_.batch());
    ++steps_;
    return result;
  } catch (const NumericError& error) {
    in_flight_.clear();
    explain(fmt::format("training step {}", steps_ + 1), error.message(), input,
            "the weights are those before this step; try a smaller --lr");
  }
}

BatchResult Engine::eval_batch(const Batch& batch) {
  STAGECOACH_CHECK(in_flight_.empty(), "Engine::eval_batch", "no training step in flight",
                   fmt::format("{}", in_flight_.size()));
  const StepInput input = input_of(batch, false);
  const BatchResult result = sum_of(loop_->run(input), batch.count);
  if (!std::isfinite(result.loss)) {
    explain(fmt::format("evaluation after training step {}", steps_),
            fmt::format("{}", result.loss), input, "try a smaller --lr");
  }
  return result;
}

void Engine::explain(const std::string& operation, const std::string& got, const StepInput& input,
                     const char* hint) {
  const std::string layer = nonfinite_layer(input);
  throw NumericError(operation, "a finite loss", layer.empty() ? got : layer, hint);
}

// Runs F of one micro-batch after another, layer by layer, until one is not finite.
std::string Engine::nonfinite_layer(const StepInput& input) {
  for (std::int64_t m = 0; m < config_.micro_batches; ++m) {
    const MicroBatch micro = micro_batch_of(input, m, config_.micro_batch_size);
    Tensor fed = rows_of(input.images, micro.first_sample, config_.micro_batch_size);
    for (const auto& stage : loop_->stages()) {
      stage->begin_step();
      if (fed.device != stage->context().device()) {
        Stream& stream = stage->context().stream();
        const Tensor received = stage->receive_input(m).at(0);
        copy(stream, received, fed);
        stream.synchronize();
        fed = received;
      }
      const int layer = stage->first_nonfinite_layer(fed, micro);
      fed = stage->output(m);
      if (layer < 0) continue;
      std::string text =
          fmt::format("infinity or NaN in the output of layer {}, {} {}, for micro-batch {}", layer,
                      network_[layer].name, network_[layer].layer->describe(), m);
      for (const Stage::Parameter& parameter : stage->parameters()) {
        const bool own = parameter.name.starts_with(network_[layer].name + ".");
        if (own && !all_finite(stage->context().stream(), parameter.value))
          text += ", and in " + parameter.name;
      }
      return text;
    }
  }
  return "";
}

void Engine::save(const std::filesystem::path& file) const {
  std::vector<NamedTensor> tensors;
  std::deque<OwnedTensor> copies;
  for (const auto& stage : loop_->stages()) {
    for (const Stage::Parameter& p : stage->parameters()) {
      const Tensor value = on_host(*stage, p.value, copies);
      // The loss of the last step is that of the weights before it.
      if (!all_finite(value)) {
        throw NumericError(
            "saving the weights", "finite weights",
            fmt::format("infinity or NaN in {} after training step {}", p.name, steps_),
            "nothing was saved; try a smaller --lr");
      }
      tensors.push_back({p.name, value});
    }
  }
  write_safetensors(file, tensors, {{"format", "pt"}, {"model", network_.name()}});
}

void Engine::load(const std::filesystem::path& file) {
  const SafetensorsFile stored(file);
  for (const auto& stage : loop_->stages()) {
    for (const Stage::Parameter& p : stage->parameters()) {
      const TensorSpec found = stored.spec(p.name);
      STAGECOACH_CHECK(found.shape == p.value.shape() && found.dtype == p.value.spec.dtype,
                       file.string(),
                       fmt::format("{} as {} {}", p.name, name_of(p.value.spec.dtype),
                                   p.value.shape().to_string()),
                       found.to_string(), "the file holds weights of another network");
    }
  }
  for (const auto& stage : loop_->stages()) {
    Stream& stream = stage->context().stream();
    for (const Stage::Parameter& p : stage->parameters()) {
      if (p.value.device.type == DeviceType::kCpu) {
        stored.read(p.name, p.value);
        continue;
      }
      const OwnedTensor read(p.value.spec);
      stored.read(p.name, read.tensor);
      copy(stream, p.value, read.tensor);
      stream.synchronize();
    }
    stage->refresh_copies();
    stream.synchronize();
  }
}

}  // namespace stagecoach
