#include "trainer/train.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/interrupt.h"
#include "core/json_file.h"
#include "core/log.h"
#include "core/safetensors.h"
#include "core/system_memory.h"
#include "data/find.h"
#include "data/loader.h"
#include "data/sampler.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/peak.h"
#include "pipeline/picture/trace.h"
#include "pipeline/pipeline.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/engine.h"
#include "trainer/first_and_last.h"
#include "trainer/metrics.h"
#include "trainer/outputs.h"
#include "trainer/processes.h"
#include "trainer/report_json.h"
#include "trainer/resume.h"
#include "trainer/run_picture.h"
#include "trainer/statistics.h"

namespace stagecoach {
namespace {

constexpr const char* kTrain = "stagecoach train";

// A checkpoint's weights are weights like any others; who meant to go on is told.
void check_init(const std::filesystem::path& file) {
  const SafetensorsFile weights(file);
  const auto step = weights.metadata().find("checkpoint_step");
  if (step == weights.metadata().end()) return;
  spdlog::warn(
      "'{}' are the weights of a checkpoint after step {}: --init begins anew with them, at step 1 "
      "and without the optimizer's state; --checkpoint-dir and --resume go on",
      file.string(), step->second);
}

// Before long work, of which a download is the longest: what is asked for must be possible.
void check_files(const TrainRun& run, const Processes& processes) {
  if (!processes.is_first()) return;
  for (const std::string& note : run.notes) spdlog::info(note);
  if (!run.save.empty()) check_writable(kTrain, run.save, state_bytes(run).weights);
  if (!run.metrics.empty()) check_growable(kTrain, run.metrics);
  for (const auto* file : {&run.report, &run.trace, &run.svg}) {
    if (!file->empty()) check_writable(kTrain, *file);
  }
  if (!run.checkpoints.directory.empty()) {
    check_begins_anew(run);
    check_checkpoint_folder(run.checkpoints.directory, state_bytes(run).all());
  }
  if (!run.init.empty()) check_init(run.init);
}

// `rows`: that this process reads.
LoaderOptions loader_options(const TrainRun& run, const DeviceChoice& devices,
                             const TrainingLoop::Rows& rows, bool training) {
  LoaderOptions options;
  options.target = devices.target;
  options.target.threads = 1;
  options.dtype = devices.dtype();
  options.transform.resize = run.image_size * 8 / 7;
  options.transform.crop = run.image_size;
  options.seed = run.job.seed;
  if (training) options.augmentation = {run.random_crop, run.random_flip};
  options.fixed = training && run.fixed_batch;
  options.images = {rows.first, rows.count};
  return options;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string data_text(const Dataset& dataset) {
  if (dataset.source.empty()) return dataset.name;
  return fmt::format("{} ({})", dataset.name, dataset.source);
}

class Training {
 public:
  explicit Training(const TrainRun& run)
      : run_(run),
        processes_(run.job.world),
        devices_(choose_devices(run.job)),
        data_((check_files(run, processes_), find_data(run.data))),
        batches_(batches_of(run, data_.train)),
        steps_(count_steps()),
        engine_((prepare_processes(), run.network), run_.job, devices_,
                {other_bytes(), [](const std::string& line) { spdlog::info(line); }}),
        statistics_(run.job.stages(), run.job.weight_group()) {}

  TrainOutcome run() {
    prepare();
    accuracy_ = FirstAndLast(static_cast<std::size_t>((steps_ - begin_) / 10));
    MetricsFile metrics(run_.metrics, begin_);
    Outputs outputs;
    outputs.attempt([&] { train_steps(metrics); });
    if (job_error_) std::rethrow_exception(job_error_);
    if (!outputs.failures().empty()) {
      report_.ended_by = outputs.failures().front();
    } else if (done_ < steps_) {
      report_.ended_by = signal_ != 0 ? name_of_signal(signal_) : "--max-minutes";
    }
    const bool failed = !outputs.failures().empty();
    finish_checkpoints(outputs);
    if (done_ < steps_ && !failed) say_how_to_go_on();
    TrainOutcome outcome;
    if (done_ > 0) {
      fill_report();
      write_files(outputs);
      if (done_ > begin_) outcome.report = report_;
    }
    if (!metrics.failure().empty()) outputs.add_failure(metrics.failure());
    outcome.failures = outputs.failures();
    outcome.signal = done_ < steps_ ? signal_ : 0;
    return outcome;
  }

 private:
  void prepare() {
    if (!run_.init.empty()) engine_.load(run_.init);
    if (!run_.checkpoints.directory.empty()) prepare_checkpoints();
    loader_.emplace(
        data_.train, run_.job.batch(), [this](std::int64_t step) { return batch_of(step); },
        loader_options(run_, devices_, rows_here(), true), begin_,
        [this](std::int64_t step) { return step / steps_per_epoch(); });
    if (interrupted()) throw Interrupted(kTrain, signal_);
    start_ = checkpointed_ = Clock::now();
  }

  void prepare_checkpoints() {
    const Settings settings = settings_of(run_, devices_, data_.train);
    std::optional<Checkpoint> found;
    if (run_.checkpoints.resume) found = checkpoint_to_resume(run_, settings, processes_);
    if (found) {
      restore(engine_, *found);
      begin_ = done_ = launched_ = found->step;
      spdlog::info("going on from '{}': step {} of {}", found->folder.string(), begin_ + 1, steps_);
      if (begin_ >= steps_) spdlog::warn("all {} steps are done: more --steps go on", steps_);
    }
    checkpoints_.emplace(
        run_.checkpoints.directory, processes_.of_first(found ? found->run : new_run_name()),
        settings, run_.checkpoints.keep, Processes(run_.job.world, MessageKind::kCheckpoint));
    checkpoints_->prepare(snapshot_);
  }

  // A signal to any process, or --max-minutes. Steps that are launched are finished.
  bool ends_early() { return interrupted() || agreed(time_is_over()); }
  bool interrupted() {
    signal_ = static_cast<int>(processes_.greatest(interrupt_signal()));
    return signal_ != 0;
  }
  bool time_is_over() const {
    return run_.max_minutes > 0 && seconds_since(start_) >= 60 * run_.max_minutes;
  }
  // What any process says, all do.
  bool agreed(bool own) const { return processes_.greatest(own ? 1 : 0) != 0; }

  // An error that is no NumericError ends all processes: none of them can do anything behind it.
  void train_steps(MetricsFile& metrics) try {
    Progress progress(steps_, run_.quiet || !processes_.is_first(), begin_);
    while (done_ < steps_) {
      const bool ends = ends_early();
      if (ends && launched_ == done_) return;
      if (!ends) launch(done_ + 1);
      StepMetrics line = finish(done_ + 1);
      ++done_;
      if (evaluates_after(done_) && !interrupted()) line.test_accuracy = evaluate();
      if (processes_.is_first()) metrics.write(line);
      progress.update(line);
      keep_checkpoint();
    }
  } catch (const NumericError&) {
    throw;
  } catch (...) {
    if (processes_.count() > 1) job_error_ = std::current_exception();
    throw;
  }

  // Whether a checkpoint is to come behind this step, whenever that is.
  bool checkpoint_follows(std::int64_t step) const {
    const CheckpointInterval& every = run_.checkpoints.every;
    return checkpoints_ && every.steps > 0 && step % every.steps == 0;
  }
  bool checkpoint_due() const {
    const CheckpointInterval& every = run_.checkpoints.every;
    return checkpoint_follows(done_) ||
           (checkpoints_ && every.steps == 0 && seconds_since(checkpointed_) >= every.seconds);
  }

  // Behind a step, if it is time, no other one is being written, and no step is in flight: launch()
  // sees to that. The last step's is written by finish_checkpoints().
  void keep_checkpoint() {
    if (!checkpoints_) return;
    checkpoint_wanted_ = checkpoint_wanted_ || agreed(done_ < steps_ && checkpoint_due());
    if (!checkpoint_wanted_ || launched_ > done_ || agreed(checkpoints_->busy())) return;
    checkpoint_wanted_ = false;
    checkpointed_ = Clock::now();
    checkpoints_->write(snapshot_);
    ++report_.snapshots;
    report_.snapshot_seconds += seconds_since(checkpointed_);
  }

  // The state after the last step that ended well, unless it is on the disk already.
  void finish_checkpoints(Outputs& outputs) {
    if (!checkpoints_) return;
    checkpoints_->wait();
    if (done_ > begin_ && checkpoints_->written() != done_) {
      outputs.attempt([&] {
        checkpoints_->write(snapshot_);
        checkpoints_->wait();
      });
    }
    for (const std::string& failure : checkpoints_->failures()) outputs.add_failure(failure);
  }

  void say_how_to_go_on() const {
    std::string how;
    if (checkpoints_ && (checkpoints_->written() >= 0 || begin_ > 0)) {
      how = fmt::format("go on with --checkpoint-dir '{}' --resume",
                        run_.checkpoints.directory.string());
    } else if (!run_.save.empty() && done_ > 0) {
      how = fmt::format("go on from these weights with --init '{}'", run_.save.string());
    } else if (done_ > 0) {
      how = "the weights are lost: --save FILE or --checkpoint-dir DIR keep them";
    }
    spdlog::warn("ended after step {} of {} by {}{}{}", done_, steps_, report_.ended_by,
                 how.empty() ? "" : "; ", how);
  }

  void prepare_processes() {
    if (processes_.count() == 1) return;
    check_same(run_, settings_of(run_, devices_, data_.train), processes_);
    calibration_.emplace(*run_.job.world, run_.calibration);
    run_.job.calibration = &*calibration_;
    spdlog::info(calibration_->to_text());
  }

  static ShuffledBatches batches_of(const TrainRun& run, const Dataset& images) {
    const std::int64_t least = run.last_batch == LastBatch::kKeep ? 1 : run.job.batch();
    STAGECOACH_CHECK(images.size() >= least, kTrain,
                     fmt::format("at least one batch of {} training images (--micro-batch-size "
                                 "times --micro-batches)",
                                 least),
                     fmt::format("{}", images.size()), "--last-batch keep takes a smaller one");
    return {images.size(), run.job.batch(), run.job.seed, run.last_batch};
  }

  TrainingLoop::Rows rows_here() const { return engine_.loop().input_rows(run_.job.batch()); }
  std::int64_t steps_per_epoch() const { return batches_.steps_per_epoch(); }

  // Then the lengths of the learning rate are known, too.
  std::int64_t count_steps() {
    const std::int64_t steps = run_.steps > 0 ? run_.steps : run_.epochs * steps_per_epoch();
    LearningRate& rate = run_.job.optimizer.learning_rate;
    rate = learning_rate_of(run_.learning_rate_schedule, rate.rate, steps, steps_per_epoch());
    return steps;
  }

  // Beside the stages: the loader's, and on the CPU a snapshot's.
  std::int64_t other_bytes() const {
    const bool on_cpu = devices_.target.device.type == DeviceType::kCpu;
    const bool snapshot = on_cpu && !run_.checkpoints.directory.empty();
    return loader_bytes() + (snapshot ? state_bytes(run_).all() : 0);
  }

  // Two batches of a loader, and while testing two more; on a GPU also the images.
  std::int64_t loader_bytes() const {
    const std::int64_t batch = run_.job.input(run_.job.batch(), devices_.dtype()).bytes();
    const std::int64_t batches = (run_.eval_every > 0 ? 4 : 2) * batch;
    if (devices_.target.device.type == DeviceType::kCpu) return batches;
    return batches +
           static_cast<std::int64_t>(data_.train.pixels.size() + data_.test.pixels.size());
  }

  std::vector<std::int64_t> batch_of(std::int64_t step) {
    if (step >= steps_) return {};
    return batches_.of_step(step);
  }

  bool evaluates_after(std::int64_t step) const {
    return run_.eval_every > 0 && (step % run_.eval_every == 0 || step == steps_);
  }

  // Launches the step, if it is not yet, and what may follow it before the host knows its result.
  void launch(std::int64_t step) {
    const bool alone = evaluates_after(step) || checkpoint_wanted_ || checkpoint_follows(step);
    const std::int64_t ahead = alone ? 0 : engine_.max_in_flight() - 1;
    while (launched_ < std::min(step + ahead, steps_)) {
      asked_.push_back(Clock::now());
      engine_.launch(*loader_->take());
      ++launched_;
    }
  }

  StepMetrics finish(std::int64_t step) {
    const BatchResult result = engine_.finish();
    const Clock::time_point end = Clock::now(), begin = std::max(asked_.front(), finished_);
    const double seconds = std::chrono::duration<double>(end - begin).count();
    if (calibration_) calibration_->refresh();
    loader_->release(finished_);
    asked_.pop_front();
    finished_ = end;
    if (processes_.is_first()) statistics_.add(engine_.loop().trace(start_, step), seconds);
    if (step == begin_ + 1) report_.loss_first = result.mean_loss();
    report_.loss_last = result.mean_loss();
    accuracy_.add(result.accuracy());
    StepMetrics metrics;
    metrics.step = step;
    metrics.loss = result.mean_loss();
    metrics.accuracy = result.accuracy();
    metrics.images_per_second = static_cast<double>(result.samples) / seconds;
    metrics.learning_rate = run_.job.optimizer.learning_rate.exactly(step - 1);
    metrics.gradient_norm = result.gradient_norm;
    return metrics;
  }

  // Accuracy on the test split. One loader serves all evaluations: it has the images on a GPU.
  double evaluate() {
    const std::int64_t batch = run_.job.batch(), size = data_.test.size(),
                       batches = (size + batch - 1) / batch;
    if (!test_loader_) {
      const std::int64_t evaluations = (steps_ + run_.eval_every - 1) / run_.eval_every;
      const auto order = [=](std::int64_t i) {
        std::vector<std::int64_t> samples;
        if (i >= evaluations * batches) return samples;
        i %= batches;
        for (std::int64_t s = i * batch; s < std::min(size, (i + 1) * batch); ++s) {
          samples.push_back(s);
        }
        return samples;
      };
      test_loader_.emplace(data_.test, batch, order,
                           loader_options(run_, devices_, rows_here(), false));
    }
    BatchResult sum;
    for (std::int64_t i = 0; i < batches; ++i) {
      const BatchResult result = engine_.eval_batch(*test_loader_->next());
      sum.correct += result.correct;
      sum.samples += result.samples;
    }
    report_.accuracy = sum.accuracy();
    report_.test_samples = sum.samples;
    return sum.accuracy();
  }

  void fill_report() {
    const TrainJob& job = run_.job;
    report_.planned_steps = steps_;
    report_.first_step = begin_ + 1;
    report_.snapshot_bytes = checkpoints_ ? state_bytes(run_).all() : 0;
    report_.model = run_.network.name();
    report_.schedule = job.pipeline ? run_.schedule : "none";
    report_.partition = engine_.partition_text();
    report_.data = data_text(data_.train);
    if (run_.fixed_batch) report_.data += ", the first two batches again and again";
    report_.stages = job.pipeline ? job.ranks() : 0;
    report_.chunks = run_.chunks;
    report_.recompute = job.recompute;
    report_.recompute_interval = job.recompute_interval;
    report_.planned_without_recompute = engine_.planned_without_recompute();
    report_.micro_batches = job.micro_batches();
    report_.micro_batch_size = job.micro_batch_size;
    report_.replicas = job.replicas;
    report_.gradient_groups = job.gradient_groups;
    report_.fast_nondeterministic = job.fast_nondeterministic;
    report_.processes = processes_.count();
    report_.threads = devices_.target.threads;
    report_.device = devices_.text;
    report_.precision = devices_.target.precision;
    if (devices_.target.device.type == DeviceType::kCuda) {
      report_.launch = job.eager ? Launch::kEager : Launch::kGraph;
    }
    report_.image_size = run_.image_size;
    report_.steps = done_ - begin_;
    report_.seed = job.seed;
    report_.training_accuracy_first = accuracy_.first();
    report_.training_accuracy_last = accuracy_.last();
    report_.images_left_out = images_left_out();
    report_.total_seconds = seconds_since(start_);
    if (devices_.target.device.type == DeviceType::kCpu) {
      report_.core_peak = cpu::peak_flops() / 2;
      report_.instruction_set = cpu::instruction_set();
    }
    report_.step_seconds_median = statistics_.step_seconds_median();
    report_.images_per_second = static_cast<double>(job.batch()) / report_.step_seconds_median;
    report_.data_wait_seconds = loader_->waited_seconds();
    report_.data_waits = loader_->waits();
    report_.loader_bytes = loader_->bytes();
    report_.process_peak_bytes = process_peak_bytes();
    const std::vector<StageSummary> stages = engine_.loop().summaries();
    if (!processes_.is_first()) return;  // which has the traces of all
    if (calibration_) describe_messages(stages);
    if (engine_.program() != nullptr) report_.bubble = statistics_.bubble(*engine_.program());
    report_.stage = statistics_.stages();
    for (std::size_t s = 0; s < stages.size(); ++s) describe_stage(report_.stage[s], stages[s]);
  }

  // Those along the pipeline, whose processes in the first replica are every R-th one.
  void describe_messages(const std::vector<StageSummary>& stages) {
    std::vector<int> along;
    for (int rank = 0; rank < run_.job.ranks(); ++rank) along.push_back(rank * run_.job.replicas);
    const LinkSpeed speed = calibration_->speed(along);
    report_.transport = {speed, calibration_->machines(),
                         std::chrono::duration<double>(calibration_->bound()).count()};
    std::vector<std::int64_t> bytes;
    for (const StageSummary& stage : stages) bytes.push_back(stage.message_bytes);
    statistics_.set_messages(speed, std::move(bytes));
  }

  // Of an epoch.
  std::int64_t images_left_out() const {
    return std::max<std::int64_t>(0, data_.train.size() - steps_per_epoch() * run_.job.batch());
  }

  void describe_stage(StageReport& row, const StageSummary& stage) {
    row.first_layer = stage.first;
    row.last_layer = stage.end - 1;
    row.first_name = layer_name(row.first_layer);
    row.last_name = layer_name(row.last_layer);
    row.parameters = stage.parameters;
    row.multiply_adds = stage.multiply_adds;
    row.message_bytes = stage.message_bytes;
    report_.memory.push_back({stage.planned_bytes, stage.peak_bytes});
  }

  // "features.0 Conv2d"; a layer that has no name by its kind.
  std::string layer_name(int layer) const {
    const std::string kind = run_.network[layer].layer->describe();
    const std::string& name = run_.network[layer].name;
    return (name.empty() ? "" : name + " ") + kind.substr(0, kind.find('('));
  }

  // The weights first: they are what cannot be had again.
  void write_files(Outputs& outputs) {
    const std::string title =
        fmt::format("{}, {}, K = {}, M = {}, B = {}{}", report_.model, report_.schedule,
                    report_.stages, report_.micro_batches, report_.micro_batch_size,
                    report_.replicas > 1 ? fmt::format(", R = {}", report_.replicas) : "");
    outputs.write(run_.save, [&](const auto& file) { engine_.save(file); });
    if (!processes_.is_first()) return;
    outputs.write(run_.report, [&](const auto& file) { write_json(file, to_json(report_)); });
    outputs.write(run_.trace,
                  [&](const auto& file) { write_chrome_trace(file, statistics_.trace(), title); });
    outputs.write(run_.svg, [&](const auto& file) {
      write_run_picture(file, title, statistics_, engine_.program(), report_);
    });
  }

  TrainRun run_;
  const Processes processes_;
  DeviceChoice devices_;
  DataSplits data_;
  ShuffledBatches batches_;
  std::int64_t steps_;
  std::optional<Calibration> calibration_;  // where there are several processes
  // They outlive the engine, whose steps in flight read their batches.
  std::optional<Loader> loader_, test_loader_;
  Engine engine_;
  Statistics statistics_;
  RunReport report_;
  FirstAndLast accuracy_{1};
  Clock::time_point start_;
  // Steps: before this run, finished with those before it, launched.
  std::int64_t begin_ = 0, done_ = 0, launched_ = 0;
  Clock::time_point checkpointed_;  // the last snapshot
  bool checkpoint_wanted_ = false;
  const std::function<void(Snapshot&)> snapshot_ = [this](Snapshot& to) {
    take_snapshot(engine_, to);
  };
  std::optional<CheckpointWriter> checkpoints_;
  int signal_ = 0;                       // that came to any process
  std::exception_ptr job_error_;         // that has ended all processes
  std::deque<Clock::time_point> asked_;  // for the batches of the steps in flight
  Clock::time_point finished_;           // the last step that was
};

}  // namespace

TrainOutcome train(const TrainRun& run) {
  initialize_log(run.quiet);
  if (!Processes(run.job.world).is_first()) spdlog::set_level(spdlog::level::off);
  return Training(run).run();
}

}  // namespace stagecoach
