// The options of `stagecoach simulate`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pipeline/schedule/schedule.h"

namespace CLI {
class App;
}

namespace stagecoach {

struct SimulateConfig {
  std::string schedule = "1f1b";  // a name or a file
  std::string compare;            // several of them between commas; empty: only `schedule`
  // 0 where not given: what a file of the schedule or of the costs says, else 4, 8 and the
  // schedule's own number.
  int stages = 0;  // K, ranks
  int micro_batches = 0;
  int chunks = 0;
  std::vector<int> replicas;  // of each stage, or of all; empty: a table of one replica
  Recompute recompute = Recompute::kNever;
  std::string costs = "f=1,b=1,w=1,comm=0";  // or a file
  std::filesystem::path svg, trace, csv, text, json;
  bool ascii = false;

  // Files that are written; empty ones are none.
  std::vector<std::filesystem::path> outputs() const { return {svg, trace, csv, text, json}; }
};

// Adds the options to `command`. What is returned checks those that were given, once they are
// parsed; it throws UsageError.
struct SimulateOptions {
  CLI::App* command = nullptr;
  void check(const SimulateConfig& config) const;
};
SimulateOptions add_simulate_options(CLI::App& command, SimulateConfig& config);

}  // namespace stagecoach
