// Report: what a training run did.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/calibration.h"
#include "trainer/job.h"

namespace stagecoach {

struct StageReport {
  int rank = 0;
  int first_layer = 0, last_layer = 0;  // inclusive
  std::string first_name, last_name;    // "features.0 Conv2d"
  std::int64_t parameters = 0;
  // Seconds per training step (medians over the steps, sums over the micro-batches).
  double forward_seconds = 0, backward_input_seconds = 0, backward_weight_seconds = 0;
  double recompute_seconds = 0;  // F a second time; with an interval also between B and W:
  double recompute_in_backward_seconds = 0;  // that part of it
  double wait_seconds = 0;                   // of its rank, which may have other stages too
  double communication_seconds = 0;
  // The optimizer, and the sum over replicas; and what of them ran beside the rank while some rank
  // was still at F, B or W.
  double optimizer_seconds = 0, hidden_optimizer_seconds = 0;
  double reduce_seconds = 0, hidden_reduce_seconds = 0;
  double reduce_beside_weight_seconds = 0;  // of it, beside the stage's own last W
  double last_weight_seconds = 0;  // of W, that of a micro-batch that ends a gradient group
  std::int64_t multiply_adds = 0;  // of F, B and W of a step; a convolution's as a direct one's
  std::int64_t message_bytes = 0;  // of a message to the next stage
  double busy_seconds() const {
    return forward_seconds + backward_input_seconds + backward_weight_seconds + recompute_seconds;
  }
};

// Fractions of ranks x makespan.
struct BubbleReport {
  double measured = 0;            // 1 - busy / (ranks * makespan), median over the steps
  double predicted = 0;           // the schedule replayed with the measured costs
  std::optional<double> formula;  // for equal stages; absent where the schedule has none
  std::string formula_text;       // "(K-1)/(M+K-1)"
  double imbalance = 0;           // 1 - mean / max of the ranks' work
  // Until the end of the last F, B, W or R: without the sums and the optimizer behind them.
  double measured_makespan_seconds = 0, predicted_makespan_seconds = 0;
  // Predicted, if every W followed its B at once; absent where it does.
  std::optional<double> joint_makespan_seconds;
  // Predicted under ZB-H1; absent unless the schedule has one stage on each rank and this is
  // shorter.
  std::optional<double> zb_h1_makespan_seconds;
};

// How fast messages between processes were before the first step, and how well their clocks are
// known: see Calibration.
struct TransportReport {
  LinkSpeed messages;  // along the pipeline
  int machines = 1;
  double clocks_within_seconds = 0;
};

struct MemoryReport {
  std::int64_t planned_bytes = 0, peak_bytes = 0;
};

struct RunReport {
  std::string model, schedule, partition, device = "cpu";
  Precision precision = Precision::kFp32;
  Launch launch = Launch::kThreads;
  std::string data;  // "CIFAR-10 from DIR", "synthetic"
  int stages = 0;    // K, ranks; 0: the plain loop
  int chunks = 1;    // stages on each rank
  int micro_batches = 0, threads = 1;
  Recompute recompute = Recompute::kNever;
  int recompute_interval = 0;
  std::vector<std::int64_t> planned_without_recompute;  // bytes per stage; empty for never
  int replicas = 1;
  int gradient_groups = 1;
  bool fast_nondeterministic = false;  // sums whose order is the library's, or the transport's
  int processes = 1;                   // each with one rank of one replica; 1: ranks are threads
  std::optional<TransportReport> transport;  // of several processes
  std::int64_t micro_batch_size = 0, image_size = 0;
  // Those of this run that ended well; the first of them; and the last that was asked for.
  std::int64_t steps = 0, first_step = 1, planned_steps = 0;
  std::string ended_by;              // "SIGINT", or the error; empty: all steps ended well
  std::int64_t images_left_out = 0;  // of every epoch, as they do not fill a step
  std::uint64_t seed = 0;
  double images_per_second = 0, step_seconds_median = 0, total_seconds = 0;
  double loss_first = 0, loss_last = 0;
  // On training batches, means over the first and the last tenth of the steps.
  double training_accuracy_first = 0, training_accuracy_last = 0;
  std::optional<double> accuracy;  // on the test split; absent when not asked
  std::int64_t test_samples = 0;
  double data_wait_seconds = 0;  // steps' waits for a batch that was not ready
  std::int64_t data_waits = 0;
  std::int64_t loader_bytes = 0;
  std::int64_t snapshot_bytes = 0;  // copies of the state for checkpoints
  int snapshots = 0;                // between steps; and how long the training stood still for them
  double snapshot_seconds = 0;
  std::int64_t process_peak_bytes = 0;  // VmHWM of the process
  std::vector<StageReport> stage;
  // On the CPU: what a core can do at most, in multiply-adds a second, and its instruction set.
  std::optional<double> core_peak;
  std::string instruction_set;
  // Of its threads' peak, what a stage made of it while it worked; 0 where that is not known.
  double peak_share(const StageReport& of) const {
    const double possible = core_peak.value_or(0) * threads * of.busy_seconds();
    return possible > 0 ? static_cast<double>(of.multiply_adds) / possible : 0;
  }
  std::optional<BubbleReport> bubble;  // absent for the plain loop
  std::vector<MemoryReport> memory;    // per stage
};

}  // namespace stagecoach
