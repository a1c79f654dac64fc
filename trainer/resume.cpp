#include "trainer/resume.h"

#include <algorithm>
#include <deque>

#include "comm/launched_process.h"
#include "core/error.h"
#include "core/json_file.h"
#include "core/log.h"
#include "data/sha256.h"
#include "pipeline/state_dict.h"
#include "trainer/words.h"

namespace stagecoach {
namespace {

constexpr const char* kTrain = "stagecoach train";

// Layers with their options, in order, and how their inputs are connected through shapes.
std::string digest_of(const Network& network, const TrainRun& run) {
  std::string text;
  const std::vector<LayerPlan> plans = network.plan(run.job.input(1), Target());
  for (int i = 0; i < network.size(); ++i) {
    text += fmt::format("{} {}\n", network[i].name, network[i].layer->describe());
    for (const TensorSpec& input : plans[static_cast<std::size_t>(i)].inputs) {
      text += input.to_string() + "\n";
    }
  }
  return sha256_of(text);
}

std::string digest_of(const Dataset& images) {
  Sha256 sum;
  sum.add(images.labels.data(), images.labels.size());
  sum.add(images.pixels.data(), images.pixels.size());
  return sum.finish();
}

// 0.9f as 0.9, for people.
double shortest(float value) {
  return std::stod(fmt::format("{}", value));
}

bool has_buffers(const TrainRun& run) {
  for (const LayerPlan& plan : run.network.plan(run.job.input(1), Target())) {
    if (!plan.buffers.empty()) return true;
  }
  return false;
}

}  // namespace

Settings settings_of(const TrainRun& run, const DeviceChoice& devices, const Dataset& images) {
  const TrainJob& job = run.job;
  const bool on_cpu = devices.target.device.type == DeviceType::kCpu;
  Settings settings = {{"network", run.network.name()},
                       {"network_sha256", digest_of(run.network, run)},
                       {"data", images.name},
                       {"data_sha256", digest_of(images)},
                       {"images", images.size()},
                       {"image_size", run.image_size},
                       {"random_crop", run.random_crop},
                       {"random_flip", run.random_flip},
                       {"batch", job.batch()},
                       {"seed", job.seed},
                       {"optimizer", word_of(kOptimizerWords, job.optimizer.kind)},
                       {"learning_rate", job.optimizer.learning_rate.rate},
                       {"learning_rate_schedule", job.optimizer.learning_rate.schedule_text()},
                       {"clip_grad_norm", job.optimizer.clip_norm},
                       {"label_smoothing", run.label_smoothing},
                       {"last_batch", word_of(kLastBatchWords, run.last_batch)}};
  if (job.optimizer.kind == OptimizerKind::kSgd) {
    settings["momentum"] = shortest(job.optimizer.sgd.momentum);
    settings["weight_decay"] = shortest(job.optimizer.sgd.weight_decay);
  } else {
    settings["weight_decay"] = shortest(job.optimizer.adam.weight_decay);
  }
  if (job.gradient_groups > 1) settings["gradient_groups"] = job.gradient_groups;
  if (job.fast_nondeterministic) settings["fast_nondeterministic"] = true;
  settings["precision"] = name_of(devices.target.precision);
  // Where sums are the library's, or statistics a micro-batch's, more of the job decides.
  if (on_cpu) {
    settings["device"] = "cpu";
    settings["convolution"] = word_of(kConvolutionWords, job.convolution);
  } else {
    settings["device"] = devices.gpu;
  }
  if (!on_cpu || has_buffers(run)) settings["micro_batch_size"] = job.micro_batch_size;
  return settings;
}

StateBytes state_bytes(const TrainRun& run) {
  std::int64_t parameters = 0, buffers = 0;
  for (const LayerPlan& plan : run.network.plan(run.job.input(1), Target())) {
    for (const ParameterSpec& parameter : plan.parameters) parameters += parameter.spec.bytes();
    for (const BufferSpec& buffer : plan.buffers) buffers += buffer.spec.bytes();
  }
  const auto states = static_cast<std::int64_t>(run.job.optimizer.make()->states().size());
  return {parameters + buffers, parameters * states};
}

void take_snapshot(const Engine& engine, Snapshot& snapshot) {
  if (snapshot.memory.empty()) {
    for (const StateEntry& entry : engine.state()) {
      if (!engine.owns(entry)) continue;
      const Tensor& tensor = snapshot.memory.emplace_back(entry.spec).tensor;
      (entry.kind == StateKind::kOptimizerState ? snapshot.optimizer : snapshot.weights)
          .push_back({entry.name, tensor});
    }
  }
  auto next = snapshot.memory.begin();
  engine.read_state([&](const StateEntry&) { return (next++)->tensor; });
  snapshot.step = engine.steps();
}

void restore(Engine& engine, const Checkpoint& checkpoint) {
  std::deque<SafetensorsFile> files;
  for (const CheckpointFile& file : checkpoint.files)
    files.emplace_back(checkpoint.folder / file.name);
  engine.restore(checkpoint.step, [&](const StateEntry& entry, const Tensor& destination) {
    const auto found =
        std::ranges::find_if(files, [&](const auto& file) { return file.has(entry.name); });
    STAGECOACH_CHECK(found != files.end(), kTrain,
                     fmt::format("{} in '{}'", entry.name, checkpoint.folder.string()), "none");
    found->read(entry.name, destination);
  });
}

void check_same(const TrainRun& run, const Settings& settings, const Processes& processes) {
  if (processes.count() == 1) return;
  Settings own = settings;
  own["version"] = STAGECOACH_VERSION;
  own["table_sha256"] = sha256_of(run.job.schedule.to_text());
  own["recompute"] = word_of(kRecomputeWords, run.job.recompute);
  own["micro_batch_size"] = run.job.micro_batch_size;
  own["replicas"] = run.job.replicas;
  own["zero"] = run.job.zero;
  own["overlap"] = run.job.overlap;
  own["recompute_interval"] = run.job.recompute_interval;
  own["partition"] = word_of(kPartitionWords, run.job.partition.kind);
  own["cuts"] = run.job.partition.cuts;
  own["steps"] = run.steps;
  own["fixed_batch"] = run.fixed_batch;
  own["epochs"] = run.epochs;
  own["eval_every"] = run.eval_every;
  own["max_test_samples"] = run.data.max_test;
  own["init"] = run.init.string();
  own["save"] = run.save.string();
  own["checkpoint_dir"] = run.checkpoints.directory.string();
  own["resume"] = run.checkpoints.resume;
  own["host"] = host_name();
  const std::vector<std::string> all = processes.of_all(json_text(own));
  Settings first = Settings::parse(all[0]);
  for (std::size_t process = 1; process < all.size(); ++process) {
    Settings other = Settings::parse(all[process]);
    const auto host = other["host"].get<std::string>();
    other["host"] = first["host"];
    const std::string differing = differences(first, other);
    if (differing.empty()) continue;
    throw UsageError(kTrain,
                     fmt::format("the same in all processes as in process 0 on {}",
                                 first["host"].get<std::string>()),
                     fmt::format("process {} on {} with {}", process, host, differing),
                     "start all with one command, from one build, with the same data");
  }
}

void check_begins_anew(const TrainRun& run) {
  const CheckpointOptions& options = run.checkpoints;
  if (options.resume || checkpoints_in(options.directory).empty()) return;
  throw UsageError(kTrain, "a --checkpoint-dir without checkpoints, or --resume",
                   fmt::format("'{}' with some, and no --resume", options.directory.string()),
                   "--resume goes on with the newest; another folder begins anew");
}

namespace {

std::optional<Checkpoint> newest_to_resume(const TrainRun& run, const Settings& settings) {
  const std::filesystem::path& directory = run.checkpoints.directory;
  std::vector<std::string> damaged;
  std::optional<Checkpoint> checkpoint = newest_whole(directory, damaged);
  for (const std::string& line : damaged) spdlog::warn(line);
  STAGECOACH_CHECK(checkpoint || damaged.empty(), kTrain,
                   fmt::format("a whole checkpoint in '{}'", directory.string()),
                   "only damaged ones", "another folder begins anew");
  if (!checkpoint) {
    spdlog::warn("no checkpoint in '{}': this run begins at step 1", directory.string());
    return std::nullopt;
  }
  const std::string differing = differences(checkpoint->settings, settings);
  if (differing.empty()) return checkpoint;
  if (!run.checkpoints.resume_anyway) {
    throw UsageError(kTrain, fmt::format("the settings of '{}'", checkpoint->folder.string()),
                     differing,
                     "--resume-anyway goes on, with other bits than a run that never stopped");
  }
  spdlog::warn("going on with {}: other bits than those of a run that never stopped", differing);
  return checkpoint;
}

}  // namespace

std::optional<Checkpoint> checkpoint_to_resume(const TrainRun& run, const Settings& settings,
                                               const Processes& processes) {
  std::optional<Checkpoint> found;
  if (processes.is_first()) found = newest_to_resume(run, settings);
  const std::string folder = processes.of_first(found ? found->folder.string() : "");
  if (!found && !folder.empty()) found = read_manifest(folder);
  return found;
}

}  // namespace stagecoach
