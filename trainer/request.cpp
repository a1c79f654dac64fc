#include "trainer/request.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "layers/networks.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/partition.h"
#include "trainer/request_checks.h"
#include "trainer/request_sizes.h"
#include "trainer/words.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kForever = std::int64_t{1} << 40;
constexpr std::int64_t kLargestImage = 4096;

void check_below_one(const char* option, double value) {
  if (value >= 0 && value < 1) return;
  throw UsageError(kTrain, fmt::format("{} of at least 0 and below 1", option),
                   fmt::format("{}", value));
}

Recompute recompute_of(const TrainRequest& request) {
  return request.recompute.value_or(request.recompute_interval > 0 ? Recompute::kAlways
                                                                   : Recompute::kNever);
}

// Whether the cuts fit the network is checked where it is known.
void check_cuts(const TrainRequest& request, const RequestSizes& sizes) {
  if (request.partition.kind != PartitionKind::kCuts) return;
  const std::int64_t pieces = request.partition.cuts.size() + 1;
  if (sizes.stages > 0 && pieces == sizes.pieces()) return;
  const std::string stages = sizes.chunks == 1
                                 ? fmt::format("{}", sizes.stages)
                                 : fmt::format("{} times {} chunks", sizes.stages, sizes.chunks);
  throw UsageError(kTrain,
                   fmt::format("one cut fewer than --stages {}",
                               sizes.stages == 0 ? "(0: the plain loop has none)" : stages),
                   fmt::format("--partition {}, which makes {} stages",
                               fmt::join(request.partition.cuts, ","), pieces));
}

void check_recompute(const TrainRequest& request, const RequestSizes& sizes) {
  const Recompute recompute = recompute_of(request);
  check_range("--recompute-interval", request.recompute_interval, 0, kMany,
              "0 recomputes all layers of a stage at once");
  if (sizes.stages == 0 && recompute != Recompute::kNever) {
    throw UsageError(kTrain, "--recompute with a pipeline only", "--stages 0",
                     "--stages 1 is a pipeline of one stage");
  }
  if (request.recompute_interval == 0 || recompute == Recompute::kAlways) return;
  throw UsageError(kTrain, "--recompute-interval with --recompute always",
                   fmt::format("--recompute {}", name_of(recompute)),
                   "runs of layers share the memory of one, so no micro-batch can keep them all");
}

const OptimizerDefaults& defaults_of(OptimizerKind kind) {
  return kind == OptimizerKind::kAdam ? kAdamDefaults : kSgdDefaults;
}

// --momentum is a word of SGD's.
OptimizerKind kind_of_optimizer(const TrainRequest& request) {
  return request.optimizer.value_or(request.momentum ? OptimizerKind::kSgd : OptimizerKind::kAdam);
}

void check_optimizer(const TrainRequest& request) {
  const OptimizerDefaults& defaults = defaults_of(kind_of_optimizer(request));
  const double learning_rate = request.learning_rate.value_or(defaults.learning_rate);
  const double weight_decay = request.weight_decay.value_or(defaults.weight_decay);
  if (request.momentum && kind_of_optimizer(request) != OptimizerKind::kSgd) {
    throw UsageError(kTrain, "--momentum with --optimizer sgd only", "--momentum with adam",
                     "Adam has averages of its own, with fixed rates of 0.9 and 0.999");
  }
  if (!(learning_rate > 0) || !std::isfinite(learning_rate)) {
    throw UsageError(kTrain, "--lr above 0", fmt::format("{}", learning_rate));
  }
  check_below_one("--momentum", request.momentum.value_or(kDefaultMomentum));
  if (!(weight_decay >= 0) || !std::isfinite(weight_decay)) {
    throw UsageError(kTrain, "--weight-decay of at least 0", fmt::format("{}", weight_decay));
  }
  check_below_one("--dropout", request.dropout);
  check_below_one("--label-smoothing", request.label_smoothing);
  if (!(request.clip_grad_norm >= 0) || !std::isfinite(request.clip_grad_norm)) {
    throw UsageError(kTrain, "--clip-grad-norm of at least 0",
                     fmt::format("{}", request.clip_grad_norm), "0 never scales gradients");
  }
  check_learning_rate(request.learning_rate_schedule, learning_rate);
}

bool is_power_of_two(int number) {
  return std::has_single_bit(static_cast<unsigned>(number));
}

// That take part in one training.
int processes_of(const TrainRequest& request) {
  return request.transport == Transport::kThreads ? 1 : request.process.processes;
}

int replicas_of(const TrainRequest& request, const RequestSizes& sizes) {
  const int processes = processes_of(request);
  return request.replicas.value_or(processes > 1 ? processes / static_cast<int>(sizes.stages) : 1);
}

// Each process has one rank of one replica.
void check_processes(const TrainRequest& request, const RequestSizes& sizes) {
  const int processes = processes_of(request);
  if (request.transport == Transport::kMpi && processes == 1) {
    throw UsageError(kTrain, "several processes, for --transport mpi", "one",
                     "start them with mpirun -np 4 stagecoach train ...");
  }
  if (!(request.peer_timeout >= 1 && request.peer_timeout <= kMostPeerTimeout)) {
    throw UsageError(kTrain, fmt::format("--peer-timeout from 1 to {} seconds", kMostPeerTimeout),
                     fmt::format("{}", request.peer_timeout));
  }
  if (processes == 1) return;
  if (sizes.groups > 1) {
    throw UsageError(kTrain, "a table with each stage on one rank, in several processes",
                     fmt::format("{} with a stage on several", request.schedule),
                     "--transport threads trains by it");
  }
  const std::string started = fmt::format("{} processes", processes);
  if (sizes.stages == 0) {
    throw UsageError(kTrain, "--stages of at least 1 in several processes",
                     started + " and --stages 0", "--transport threads trains in each for itself");
  }
  if (processes % sizes.stages != 0) {
    throw UsageError(kTrain, fmt::format("a multiple of --stages {}", sizes.stages), started,
                     "each process has one stage of one replica");
  }
  if (replicas_of(request, sizes) * sizes.stages == processes) return;
  throw UsageError(kTrain,
                   fmt::format("{} processes, for --stages {} and --replicas {}",
                               replicas_of(request, sizes) * sizes.stages, sizes.stages,
                               replicas_of(request, sizes)),
                   started, "without --replicas it is what is left of them");
}

// Why not 2: a stage adds the gradients of all micro-batches before they are summed over replicas,
// so each needs room for all of them. DeepSpeed refuses it with pipelines, too.
void check_zero(int zero) {
  if (zero == 0 || zero == 1) return;
  const char* hint =
      zero == 2 || zero == 3
          ? "a stage needs all of its weights and gradients until the last micro-batch "
            "of a step has run"
          : "1 shards the states of the optimizer over the replicas";
  throw UsageError(kTrain, "--zero: 0 or 1", fmt::format("{}", zero), hint);
}

// Whether there is a GPU, is asked later.
void check_overlap(const TrainRequest& request, const RequestSizes& sizes, int replicas) {
  if (!request.overlap || replicas > 1) return;
  if (sizes.stages == 0) {
    throw UsageError(kTrain, "--overlap with a pipeline only", "--stages 0",
                     "--stages 1 is a pipeline of one stage");
  }
  if (request.clip_grad_norm > 0) {
    throw UsageError(kTrain, "--overlap or --clip-grad-norm, with one replica", "both",
                     "the norm is of all gradients: no update can begin before the last of them");
  }
}

void check_replicas(const TrainRequest& request, const RequestSizes& sizes) {
  const int replicas = replicas_of(request, sizes);
  check_range("--replicas", replicas, 1, kMany);
  if (!is_power_of_two(replicas)) {
    throw UsageError(kTrain, "--replicas: a power of two", fmt::format("{}", replicas),
                     "their gradients are added two by two");
  }
  if (replicas > 1 && sizes.stages == 0) {
    throw UsageError(kTrain, "--stages of at least 1 with --replicas", "--stages 0");
  }
  check_zero(request.zero);
  const int least = replicas * sizes.groups;  // groups of gradients
  if (least == 1 && request.zero > 0) {
    throw UsageError(kTrain, "--zero with several replicas", "one",
                     "it is about what replicas have in common: see --replicas");
  }
  check_overlap(request, sizes, least);
  const int groups = request.gradient_groups.value_or(least);
  check_range("--gradient-groups", groups, 1, kMany);
  const std::int64_t micro_batches = std::int64_t{sizes.micro_batches} * replicas;
  if (is_power_of_two(groups) && groups % least == 0 && micro_batches % groups == 0) return;
  throw UsageError(
      kTrain,
      fmt::format("--gradient-groups: a power of two that divides the {} micro-batches{}",
                  micro_batches, least > 1 ? fmt::format(", at least the {} replicas", least) : ""),
      fmt::format("{}", groups), "a group is of whole micro-batches");
}

// --steps or --epochs, whichever is given.
void check_length(const TrainRequest& request) {
  if (request.steps) check_range("--steps", *request.steps, 1, kForever);
  if (request.epochs) check_range("--epochs", *request.epochs, 1, kForever);
  if (request.steps && request.epochs) {
    throw UsageError(kTrain, "--steps or --epochs",
                     fmt::format("--steps {} and --epochs {}", *request.steps, *request.epochs),
                     "an epoch is one pass over the training images, in as many steps as it takes");
  }
  check_range("--eval-every", request.eval_every, 0, kForever, "0 never evaluates");
}

void check_checkpoints(const TrainRequest& request) {
  if (!(request.max_minutes >= 0)) {
    throw UsageError(kTrain, "--max-minutes of at least 0", fmt::format("{}", request.max_minutes),
                     "0 is no limit");
  }
  if (request.fixed_batch && !request.checkpoint_dir.empty()) {
    throw UsageError(kTrain, "--fixed-batch or --checkpoint-dir", "both",
                     "a training on two batches is to measure a step, not to go on with");
  }
  check_range("--keep", request.keep.value_or(kDefaultKeptCheckpoints), 1, kMany);
  const char* alone = request.checkpoint_every ? "--checkpoint-every"
                      : request.keep           ? "--keep"
                      : request.resume_anyway  ? "--resume-anyway"
                      : request.resume         ? "--resume"
                                               : nullptr;
  if (request.checkpoint_dir.empty() && alone != nullptr) {
    throw UsageError(kTrain, fmt::format("{} with --checkpoint-dir", alone), "none",
                     "it names the folder of the checkpoints");
  }
  if (!request.init.empty() && (request.resume || request.resume_anyway)) {
    throw UsageError(kTrain, "--init or --resume", "both",
                     "a checkpoint has weights of its own: --init begins anew with other ones");
  }
}

// One file cannot be two things. --save may replace what --init has read.
void check_files(const TrainRequest& request) {
  NamedFiles files = {{"--init", request.init},
                      {"--metrics", request.metrics},
                      {"--report", request.report},
                      {"--trace", request.trace},
                      {"--svg", request.svg}};
  check_different_files(kTrain, files);
  files[0] = {"--save", request.save};
  if (names_a_file(request.schedule)) files.emplace_back("--schedule", request.schedule);
  check_different_files(kTrain, files);
}

// Before all else: what else would be said is of processes that cannot train together.
void check_launcher(const TrainRequest& request) {
  if (processes_of(request) == 1 || !request.process.mpis.empty()) return;
  throw UsageError(
      kTrain, "processes that MPI can join",
      fmt::format("{} of {}", request.process.seen, request.process.launcher),
      "start them with mpirun, mpiexec, or srun --mpi=pmix or pmi2; --transport threads "
      "trains in each for itself");
}

void check_request(const TrainRequest& request, const RequestSizes& sizes,
                   const NetworkEntry& network) {
  check_range("--image-size", request.image_size, network.smallest_image, kLargestImage,
              network.because);
  check_range("--max-train-samples", request.max_train_samples, 0, kForever, "0 takes all");
  check_range("--max-test-samples", request.max_test_samples, 0, kForever, "0 takes all");
  check_range("--stages", sizes.stages, 0, kMany, "0 is the plain loop without a pipeline");
  check_range("--chunks", sizes.chunks, 1, kMany);
  check_recompute(request, sizes);
  check_range("--micro-batch-size", request.micro_batch_size, 1, kMany);
  check_range("--micro-batches", sizes.micro_batches, 1, kMany);
  check_cuts(request, sizes);
  check_range("--threads", request.threads, 0, 1024, "0 shares the cores among the stages");
  check_length(request);
  check_optimizer(request);
  check_processes(request, sizes);
  check_replicas(request, sizes);
  check_checkpoints(request);
  check_files(request);
}

// Before the table is made, which takes as long as it is large.
void check_layers(const TrainRequest& request, const RequestSizes& sizes, const Network& network) {
  if (sizes.pieces() > network.size()) {
    const std::string chunks = sizes.chunks > 1 ? fmt::format(" times {}", sizes.chunks) : "";
    throw UsageError(kTrain,
                     fmt::format("--stages{} of at most {}, the layers of {}", chunks,
                                 network.size(), network.name()),
                     fmt::format("{}", sizes.stages), "every stage needs a layer");
  }
  if (request.partition.kind == PartitionKind::kCuts) {
    partition_at(request.partition.cuts, network.size(), static_cast<int>(sizes.pieces()));
  }
}

OptimizerRequest optimizer_of(const TrainRequest& request) {
  const OptimizerDefaults& defaults = defaults_of(kind_of_optimizer(request));
  const auto decay = static_cast<float>(request.weight_decay.value_or(defaults.weight_decay));
  OptimizerRequest optimizer;
  optimizer.kind = kind_of_optimizer(request);
  optimizer.learning_rate = request.learning_rate.value_or(defaults.learning_rate);
  optimizer.clip_norm = request.clip_grad_norm;
  optimizer.sgd = {static_cast<float>(request.momentum.value_or(kDefaultMomentum)), decay};
  optimizer.adam.weight_decay = decay;
  return optimizer;
}

TrainJob job_of(const TrainRequest& request, const RequestSizes& sizes) {
  TrainJob job;
  job.pipeline = sizes.stages > 0;
  job.schedule = sizes.table    ? *sizes.table
                 : job.pipeline ? make_schedule(request.schedule, sizes.stages, sizes.micro_batches,
                                                sizes.chunks)
                                : naive_schedule(1, sizes.micro_batches);
  job.recompute = recompute_of(request);
  job.recompute_interval = request.recompute_interval;
  job.partition = request.partition;
  job.micro_batch_size = request.micro_batch_size;
  job.sample = {3, request.image_size, request.image_size};
  job.optimizer = optimizer_of(request);
  job.processes = processes_of(request);
  job.replicas = replicas_of(request, sizes);
  job.gradient_groups = request.gradient_groups.value_or(job.replicas * sizes.groups);
  job.zero = request.zero;
  job.overlap = request.overlap;
  job.seed = request.seed;
  job.init = request.init_scheme;
  job.device = request.device;
  job.precision = request.precision;
  job.convolution = request.convolution;
  job.threads = request.threads;
  job.eager = request.eager;
  job.tune = request.tune;
  job.fast_nondeterministic = request.fast_nondeterministic;
  return job;
}

DataRequest data_of(const TrainRequest& request) {
  DataRequest data;
  data.kind = request.data;
  data.directory = request.data_dir;
  data.max_train = request.max_train_samples;
  data.max_test = request.max_test_samples;
  data.seed = request.seed;
  data.quiet = request.quiet;
  return data;
}

}  // namespace

TrainJob job_of(const TrainRequest& request) {
  return job_of(request, sizes_of(request));
}

TrainRun resolve(const TrainRequest& request) {
  check_launcher(request);
  const NetworkEntry& entry = network_of(request.model);
  const RequestSizes sizes = sizes_of(request);
  check_request(request, sizes, entry);
  constexpr int kClasses = 10;
  TrainRun run(entry.make({.classes = kClasses,
                           .dropout = static_cast<float>(request.dropout),
                           .label_smoothing = static_cast<float>(request.label_smoothing)}));
  check_layers(request, sizes, run.network);
  run.job = job_of(request, sizes);
  run.schedule = request.schedule;
  run.chunks = sizes.chunks;
  run.notes = sizes.notes;
  run.data = data_of(request);
  run.image_size = request.image_size;
  run.random_crop = request.random_crop;
  run.random_flip = request.random_flip;
  run.fixed_batch = request.fixed_batch;
  run.epochs = request.epochs.value_or(0);
  run.steps = request.steps.value_or(request.epochs ? 0 : kDefaultSteps);
  run.eval_every = request.eval_every;
  run.learning_rate_schedule = request.learning_rate_schedule;
  run.label_smoothing = request.label_smoothing;
  run.last_batch = request.last_batch;
  run.max_minutes = request.max_minutes;
  run.peer_timeout_seconds = request.peer_timeout;
  run.checkpoints.directory = request.checkpoint_dir;
  run.checkpoints.every = request.checkpoint_every.value_or(CheckpointInterval{});
  run.checkpoints.keep = request.keep.value_or(kDefaultKeptCheckpoints);
  run.checkpoints.resume = request.resume || request.resume_anyway;
  run.checkpoints.resume_anyway = request.resume_anyway;
  run.save = request.save;
  run.init = request.init;
  run.metrics = request.metrics;
  run.report = request.report;
  run.trace = request.trace;
  run.svg = request.svg;
  run.quiet = request.quiet;
  return run;
}

}  // namespace stagecoach
