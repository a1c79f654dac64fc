#include "trainer/cli/simulate_options.h"

#include <fmt/format.h>

#include <numeric>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/schedule/generators.h"
#include "trainer/cli/options.h"
#include "trainer/cli/suggest.h"
#include "trainer/cli/words.h"

namespace stagecoach {
namespace {

constexpr const char* kSimulate = "stagecoach simulate";
constexpr int kMostRanks = 65536;

constexpr const char* kFooter = R"(Examples:
  stagecoach simulate --stages 4 --micro-batches 8 --ascii
      1F1B on four ranks: its numbers, and a drawing of who does what when.
  stagecoach simulate --compare gpipe,1f1b,interleaved,zb-h1,zb-v
      One line for each: which is fastest, and what it costs in memory.
  stagecoach simulate --schedule zb-v --costs b=1.2,w=0.8,comm=0.1 --svg a.svg --trace a.json
      Backwards that differ, messages that take time; a picture, and a trace for ui.perfetto.dev
      with the slots in use over time.
  stagecoach simulate --replicas 2,1 --costs costs.json --ascii
      A first stage on two ranks and a second one on one, as for convolutions and what follows.
  stagecoach train --stages 4 --schedule gpipe --report run.json
  stagecoach simulate --costs run.json --schedule zb-h1
      What another schedule would have made of the times that a run measured.
  stagecoach simulate --schedule 1f1b --text mine.txt
  stagecoach simulate --schedule mine.txt
      A table to edit, and the edited one checked and replayed; train --schedule mine.txt runs it.

What the numbers mean:
  F, B, W     forward, gradient of the input, gradient of the weights of one micro-batch on one
              stage; BW is B and W at once and costs b + w; R is F once more and costs r, or f
  makespan    from the start of the step to the end of the last action
  bubble      the idle part of the makespan: of a rank, and of all ranks together
  imbalance   1 - mean/max of the ranks' work: no schedule and no M removes this part
  formula     the textbook's bubble, for equal stages with F = B = W and messages in no time
  longest span  from a rank's first action to its last, on the rank where that is the longest. The
              zero-bubble papers count by it: under ZB-V a rank that has started never waits, so its
              bubble is zero "by span". By makespan it is not: later ranks start later. It vanishes
              from one step to the next only where the optimizer does not wait for all ranks
  peak slots  the most micro-batches whose F is done and whose W is not, as every stage of a rank
              keeps what F saved until W; peak bytes are these slots times the `bytes` of --costs
Buffers between ranks are not limited here, as in the papers; train predicts with those it has.
Times are in the unit of the costs; milliseconds where these come from a report of train.

Costs, as key=value between commas or as a file NAME.json:
  f, b, w, r  time of F, B, W, R of a stage, or of a chunk where a rank holds several stages
  last_w      time of W that ends a group, where layers put work off until then; else w
  group       micro-batches in a group (--gradient-groups, --replicas); else those of a step
  sum         time of the sum of a stage's gradients over the replicas, behind its last W
  hidden      what of it runs beside that W (train --overlap); then the rest does not keep the rank,
              but for the step
  comm        latency of a message between two ranks
  bytes       of a slot
  message, bandwidth  bytes of one message, and bytes per unit of time of a link between two ranks
A file holds an object with these keys, where those of a stage (not comm, bandwidth and group) may be
arrays of one number for each stage; or an array with an object {"f": 1, "b": 2, "w": 1} for each stage, also as
"stages" of an object with comm; or it is a report that `train --report` wrote.
With --compare, costs given once for all are those of a whole rank: in a schedule with V chunks each
chunk costs 1/V of f, b, w, last_w, r, bytes, sum and hidden, so that all train the same network.)";

void check_number(const CLI::App& command, const char* option, int value) {
  if (command.count(option) == 0) return;
  const int most = std::string(option) == "--stages" ? kMostRanks : 1 << 24;
  if (value >= 1 && value <= most) return;
  throw UsageError(kSimulate,
                   value < 1 ? fmt::format("{} of at least 1", option)
                             : fmt::format("{} of at most {}", option, most),
                   fmt::format("{}", value));
}

void check_replicas(const std::vector<int>& replicas) {
  const double ranks = std::accumulate(replicas.begin(), replicas.end(), 0.0);
  if (ranks <= kMostRanks) return;  // a stage has one at least
  throw UsageError(kSimulate, fmt::format("--replicas on at most {} ranks", kMostRanks),
                   fmt::format("{} stages on {:.0f}", replicas.size(), ranks));
}

}  // namespace

SimulateOptions add_simulate_options(CLI::App& command, SimulateConfig& c) {
  command.set_help_flag("-h,--help", "this help");
  command.footer(kFooter);
  const Group schedule(command, "Schedule");
  schedule.add("--schedule", c.schedule, "NAME",
               enumerate(schedule_names()) +
                   ",\nforward-only, or a file with a table of your own: text, or\n"
                   "PyTorch's .csv; it says K, M and V itself");
  schedule.add("--compare", c.compare, "NAMES",
               "several schedules side by side: names or files\nbetween commas");
  schedule
      .add("-p,--stages,--pipeline-parallel-size", c.stages, "K",
           "K, ranks that work at the same time [4, or as many as --costs\nhas costs for]")
      ->default_str("");
  schedule
      .add("--micro-batches", c.micro_batches, "M",
           "M, micro-batches in a step [8, or those of the report in --costs]")
      ->default_str("");
  schedule
      .add("--chunks", c.chunks, "V",
           "V, stages that each of the K holds, for interleaved\n"
           "[the schedule's own: 2 for interleaved, zb-v, dualpipe-v, else 1]")
      ->default_str("");
  schedule
      .add_text("--replicas", "R,R,...",
                "ranks of each stage, or of all: 1, 2, 4, ...; naive, gpipe and\n"
                "1f1b have them in one table, and M micro-batches for each of\n"
                "the stage that has most [a table of one replica]",
                [&c](const std::string&, const std::string& text) {
                  c.replicas = replicas_of(kSimulate, text);
                })
      ->default_str("");
  schedule.add("--recompute", c.recompute, "WHEN",
               "never, except_last or always: an R before the B of a\n"
               "micro-batch, which keeps no slot from F to it",
               kRecomputeWords);
  schedule.add("--costs", c.costs, "COSTS", "times of one micro-batch, or a file; see below");

  const Group files(command, "Files and output");
  const char* type = "FILE";
  files.add("--svg", c.svg, type, "picture as in the papers");
  files.add("--trace", c.trace, type,
            "for ui.perfetto.dev, with the slots in use; a unit of time\nis a millisecond there");
  files.add_flag("--ascii", c.ascii, "the drawing as text, after the numbers");
  files.add("--text", c.text, type, "the table as text, which --schedule reads");
  files.add("--csv", c.csv, type, "the table as PyTorch's pipelining reads it");
  files.add("--json", c.json, type, "the numbers as JSON");
  return {&command};
}

void SimulateOptions::check(const SimulateConfig& config) const {
  check_number(*command, "--stages", config.stages);
  check_number(*command, "--micro-batches", config.micro_batches);
  check_number(*command, "--chunks", config.chunks);
  check_replicas(config.replicas);
  // --schedule and --costs are read before anything is written.
  check_different_files(kSimulate, {{"--svg", config.svg},
                                    {"--trace", config.trace},
                                    {"--csv", config.csv},
                                    {"--text", config.text},
                                    {"--json", config.json}});
  if (command->count("--compare") == 0) return;
  if (config.compare.empty()) throw UsageError(kSimulate, "names after --compare", "''");
  for (const char* option : {"--schedule", "--svg", "--trace", "--ascii", "--text", "--csv"}) {
    if (command->count(option) == 0) continue;
    throw UsageError(kSimulate, fmt::format("--compare or {}", option), "both",
                     "of several schedules there are only the table and --json");
  }
}

}  // namespace stagecoach
