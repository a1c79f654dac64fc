// TrainJob: how a network is trained, in types. What an Engine is made from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/shape.h"
#include "core/target.h"
#include "layers/init.h"
#include "pipeline/optimizer.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/schedule.h"

namespace stagecoach {

class Calibration;
class Watch;
class World;

enum class OptimizerKind : std::uint8_t { kSgd, kAdam };

struct OptimizerRequest {
  OptimizerKind kind = OptimizerKind::kSgd;
  LearningRate learning_rate = 0.01;
  SgdOptions sgd;        // of kSgd
  AdamOptions adam;      // of kAdam
  double clip_norm = 0;  // of all gradients together, see GradientClip; 0: never

  std::shared_ptr<const Optimizer> make() const;
};

// How the layers are shared out over the stages.
enum class PartitionKind : std::uint8_t {
  kTime,        // by the measured time of each layer
  kUniform,     // as many layers to each
  kParameters,  // by their numbers of parameters
  kCuts,        // as given
};
struct PartitionRequest {
  PartitionKind kind = PartitionKind::kTime;
  std::vector<int> cuts;  // of kCuts: the first layer of each stage but the first

  static PartitionRequest at(std::vector<int> cuts) {
    return {PartitionKind::kCuts, std::move(cuts)};
  }
};

struct DeviceRequest {
  enum class Kind : std::uint8_t {
    kAuto,  // the GPUs where there are any, else the CPU
    kCpu,
    kCuda,  // GPUs
  };
  Kind kind = Kind::kAuto;
  std::vector<int> gpus;  // of kCuda: their numbers, each once; none: all

  static DeviceRequest cpu() { return {Kind::kCpu, {}}; }
  static DeviceRequest cuda(std::vector<int> gpus = {}) { return {Kind::kCuda, std::move(gpus)}; }
};

// What carries messages between ranks.
enum class Transport : std::uint8_t {
  kAuto,     // MPI, where a launcher has started several processes
  kThreads,  // ranks are threads of one process
  kMpi,
};

// How the steps of a run are launched.
enum class Launch : std::uint8_t {
  kThreads,  // on the CPU
  kGraph,    // on a GPU: captured once
  kEager,    // on a GPU: kernel by kernel
};

struct TrainJob {
  // The table of a step, without R: it says how many ranks, stages and micro-batches there are.
  Schedule schedule = one_f_one_b_schedule(2, 8);
  // false: the plain loop, without stages or schedule: of `schedule` only the micro-batches count.
  bool pipeline = true;
  Recompute recompute = Recompute::kNever;
  int recompute_interval = 0;  // layers whose F runs again at once; 0: all of a stage
  PartitionRequest partition;

  std::int64_t micro_batch_size = 8;
  // One sample: an image [channels, height, width], which lies channels last in a batch, or [n].
  Shape sample{3, 224, 224};
  OptimizerRequest optimizer;
  // Copies of all stages, each on ranks of its own with its own micro-batches: a power of two.
  int replicas = 1;
  int gradient_groups = 1;  // see GradientTree; a multiple of the replicas
  // Of several replicas: 1: each keeps and updates a share of the optimizer's states.
  int zero = 0;
  // Whether the update runs beside W of other layers: see PipelineOptions::overlaps_update.
  bool overlap = false;
  // Processes, where each has one rank of one replica; 1: ranks are threads. `world`: them;
  // `watch`, which may be null, is told what this one does.
  int processes = 1;
  World* world = nullptr;
  Watch* watch = nullptr;
  const Calibration* calibration = nullptr;  // of their clocks; null: they have one
  std::uint64_t seed = 0;                    // of the initial weights and dropout
  InitScheme init = InitScheme::kTorch;

  DeviceRequest device;
  std::optional<Precision> precision;            // none: bf16 on a GPU, fp32 on the CPU
  Convolution convolution = Convolution::kAuto;  // CPU
  int threads = 0;                               // CPU: of each rank; 0: cores / ranks, at least 1
  bool eager = false;                            // GPU: no captured graph
  bool tune = false;                             // GPU: time the library's algorithms
  // GPU: also algorithms whose sums have no fixed order; replicas in processes: the transport adds.
  bool fast_nondeterministic = false;

  int ranks() const { return pipeline ? static_cast<int>(schedule.ranks.size()) : 1; }
  int stages() const { return pipeline ? schedule.stages : 1; }  // of all ranks
  int micro_batches() const { return schedule.micro_batches; }
  // Micro-batches in a group of gradients.
  int weight_group() const { return micro_batches() * replicas / gradient_groups; }
  std::int64_t batch() const { return micro_batch_size * micro_batches() * replicas; }
  // The network's input of so many samples.
  TensorSpec input(std::int64_t samples, DType dtype = DType::kF32) const;
};

}  // namespace stagecoach
