// TrainRequest: what a user may ask of `stagecoach train`; resolve() makes a run of it, once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/calibration.h"
#include "comm/launched_process.h"
#include "data/find.h"
#include "data/sampler.h"
#include "layers/network.h"
#include "trainer/job.h"
#include "trainer/learning_rate_request.h"

namespace stagecoach {

inline constexpr int kDefaultStages = 2, kDefaultMicroBatches = 8;
inline constexpr std::int64_t kDefaultSteps = 50;
inline constexpr double kDefaultMomentum = 0.9;
// Of each optimizer. AlexNet from scratch often diverges at Adam's 1e-3. Adam is the default: under
// SGD its loss stands still for hundreds of steps with PyTorch's initial weights.
struct OptimizerDefaults {
  double learning_rate, weight_decay;
};
inline constexpr OptimizerDefaults kSgdDefaults{0.01, 0.0005}, kAdamDefaults{3e-4, 0};

inline constexpr double kDefaultCheckpointSeconds = 600, kDefaultPeerTimeout = 4;
inline constexpr double kMostPeerTimeout = 86400;
inline constexpr int kDefaultKeptCheckpoints = 3;

// How often: after so many steps, or so many seconds; the other is 0.
struct CheckpointInterval {
  std::int64_t steps = 0;
  double seconds = kDefaultCheckpointSeconds;
};

struct CheckpointOptions {
  std::filesystem::path directory;  // empty: none are written
  CheckpointInterval every;
  int keep = kDefaultKeptCheckpoints;
  bool resume = false;         // go on from the newest one
  bool resume_anyway = false;  // also with settings that change the bits
};

// Optional: where the default depends on something else, or it matters whether it was given.
struct TrainRequest {
  std::string model = "alexnet";
  DataKind data = DataKind::kAuto;
  std::filesystem::path data_dir;
  std::int64_t image_size = 224;
  std::optional<int> stages;           // K, ranks; 0: the plain loop without a pipeline
  std::string schedule = "1f1b";       // a name, or a file: which says K, M and V itself
  std::optional<int> chunks;           // V, stages on each rank; the schedule's own number
  std::optional<Recompute> recompute;  // never, or always with an interval
  int recompute_interval = 0;          // layers recomputed at once; 0: all of a stage
  std::int64_t micro_batch_size = 8;
  std::optional<int> micro_batches;
  PartitionRequest partition;
  std::optional<std::int64_t> steps, epochs;          // one of them; neither: kDefaultSteps
  std::int64_t eval_every = 0;                        // steps; 0: no evaluation
  std::optional<OptimizerKind> optimizer;             // Adam; SGD where `momentum` is given
  std::optional<double> learning_rate, weight_decay;  // the optimizer's own
  std::optional<double> momentum;                     // of sgd
  LearningRateRequest learning_rate_schedule;
  double clip_grad_norm = 0;           // 0: never
  std::optional<int> replicas;         // 1; of several processes, what is left of them
  std::vector<int> stage_replicas;     // of each stage, where they differ; then no `replicas`
  std::optional<int> gradient_groups;  // as many as replicas
  int zero = 0;                        // ZeRO's stage: 1 shards the optimizer's states
  bool overlap = false;                // the update runs beside W of other layers
  Transport transport = Transport::kAuto;
  LaunchedProcess process;                    // one alone, or as a launcher has started it
  double peer_timeout = kDefaultPeerTimeout;  // seconds
  double label_smoothing = 0;
  InitScheme init_scheme = InitScheme::kTorch;
  LastBatch last_batch = LastBatch::kDrop;
  double dropout = 0.5;
  std::int64_t max_train_samples = 0, max_test_samples = 0;  // 0: all
  bool random_crop = false, random_flip = false, fixed_batch = false;
  std::uint64_t seed = 1138;
  DeviceRequest device;
  std::optional<Precision> precision;
  Convolution convolution = Convolution::kAuto;
  bool eager = false, tune = false, fast_nondeterministic = false;  // see TrainJob
  int threads = 0;
  double max_minutes = 0;  // 0: no limit
  std::filesystem::path checkpoint_dir;
  std::optional<CheckpointInterval> checkpoint_every;
  std::optional<int> keep;
  bool resume = false, resume_anyway = false;
  std::filesystem::path save, init, metrics, report, trace, svg;
  bool quiet = false;
};

// What `stagecoach train` does.
struct TrainRun {
  explicit TrainRun(Network of) : network(std::move(of)) {}

  Network network;
  TrainJob job;
  std::string schedule;            // its name, or its file as it was given
  int chunks = 1;                  // stages on each rank
  std::vector<std::string> notes;  // lines for people about the schedule's file
  DataRequest data;
  std::int64_t image_size = 224;
  bool random_crop = false, random_flip = false, fixed_batch = false;
  std::int64_t steps = 0, epochs = 0;  // one of them is 0
  // Its lengths are those of `job` once the data are known.
  LearningRateRequest learning_rate_schedule;
  double label_smoothing = 0;  // of the network
  LastBatch last_batch = LastBatch::kDrop;
  std::int64_t eval_every = 0;
  double max_minutes = 0;
  double peer_timeout_seconds = kDefaultPeerTimeout;  // see WatchOptions
  CalibrationOptions calibration;                     // of several processes
  CheckpointOptions checkpoints;
  std::filesystem::path save, init, metrics, report, trace, svg;
  bool quiet = false;

  // Files that are written; empty ones are none.
  std::vector<std::filesystem::path> outputs() const { return {save, metrics, report, trace, svg}; }
};

// Throws UsageError, naming the option, for a value out of range, a network or a schedule that is
// none, or values that cannot stand together; Error for a file that is no table. What depends on
// the data or the devices is checked where these are looked for.
TrainRun resolve(const TrainRequest& request);

// Of that, what an engine is made from, for any network: sizes are not checked.
TrainJob job_of(const TrainRequest& request);

}  // namespace stagecoach
