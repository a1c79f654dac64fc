// Config: everything `stagecoach train` can be told.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "pipeline/schedule/schedule.h"
#include "trainer/cli/simulate_options.h"

namespace stagecoach {

struct TrainConfig {
  std::string model = "alexnet";
  std::string data = "auto";  // auto, cifar10, synthetic
  std::filesystem::path data_dir;
  std::int64_t image_size = 224;
  int stages = 2;                         // K, ranks; 0: the plain loop without a pipeline
  std::string schedule = "1f1b";          // a name, or a file; then with
  std::shared_ptr<const Schedule> table;  // what it says, and
  std::vector<std::string> table_notes;   // lines for people about it: see read_table()
  int chunks = 0;                   // stages on each rank; 0: as many as the schedule has by itself
  std::string recompute = "never";  // never, except_last, always
  int recompute_interval = 0;       // layers recomputed at once; 0: all of a stage
  std::int64_t micro_batch_size = 8;
  int micro_batches = 8;
  std::string partition = "time";  // time, uniform, parameters, or cuts "3,10"
  std::int64_t steps = 0;          // 0: from epochs
  std::int64_t epochs = 0;
  std::int64_t eval_every = 0;  // steps; 0: no evaluation
  std::string optimizer = "sgd";
  double learning_rate = 0.01;  // resolved: what --lr says, else the optimizer's default
  double momentum = 0.9;        // of sgd
  double weight_decay = 0.0005;
  double dropout = 0.5;
  std::int64_t max_train_samples = 0, max_test_samples = 0;  // 0: all
  bool random_crop = false, random_flip = false;
  std::uint64_t seed = 1138;
  std::string device = "auto";         // auto, cpu, cuda, or GPUs: "cuda:0,1"
  std::string precision = "auto";      // fp32, tf32, bf16; auto: bf16 on a GPU, fp32 on the CPU
  bool eager = false;                  // GPU: no captured graph
  bool tune = false;                   // GPU: time the library's algorithms
  bool fast_nondeterministic = false;  // GPU: also algorithms whose sums have no fixed order
  int threads = 0;                     // per stage; 0: cores / stages, at least 1
  std::filesystem::path save, init, metrics, report, trace, svg;
  bool quiet = false;

  int ranks() const { return stages == 0 ? 1 : stages; }
  std::int64_t pieces() const;  // stages of all ranks
  std::int64_t batch() const { return micro_batch_size * micro_batches; }
  // The number of compute threads of each stage.
  int threads_per_stage() const;
};

// Whether --schedule names a file: it is no name of a schedule, and exists or looks like a path.
bool names_a_file(const std::string& schedule);
// The table of the run, with its recomputation: `table`, or made. Throws UsageError for a schedule
// that cannot have these sizes, Error for recomputation of a table that has R already.
Schedule schedule_of(const TrainConfig& config);
// The words of --recompute.
std::vector<std::string> recompute_words();
Recompute recompute_of(const std::string& word);
// Reads the file that `schedule` names into `table`, checks it, and takes K, M and the number of
// chunks from it: `given` ones that differ are a UsageError. Error for a file that is no table.
struct GivenSizes {
  bool stages = false, micro_batches = false, chunks = false;
};
void read_table(TrainConfig& config, const GivenSizes& given);

// Whether --partition says where to cut, instead of how to find out.
bool has_cuts(const TrainConfig& config);

// Throws UsageError, naming the option, for a value out of range, an unknown word, or values that
// cannot stand together. What depends on the network or the data is checked where these are made.
void validate(const TrainConfig& config);

enum class Command { kTrain, kSimulate, kInfo, kNone };

struct CommandLine {
  Command command = Command::kNone;  // kNone: help or version was printed, exit with `exit_code`
  int exit_code = 0;
  TrainConfig train;
  SimulateConfig simulate;
};

// Parses and validates. Help and version go to stdout (kNone, 0). Throws UsageError for unknown
// options, bad values and impossible combinations.
CommandLine parse_command_line(int argc, const char* const* argv);

}  // namespace stagecoach
