// `stagecoach simulate`: a schedule replayed on paper, with given costs.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pipeline/schedule/schedule.h"
#include "pipeline/schedule/simulate.h"

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
  std::string recompute = "never";           // never, except_last, always
  std::string costs = "f=1,b=1,w=1,comm=0";  // or a file
  std::filesystem::path svg, trace, csv, text, json;
  bool ascii = false;
};

// Adds the options to `command`. What is returned checks those that were given, once they are
// parsed; it throws UsageError.
struct SimulateOptions {
  CLI::App* command = nullptr;
  void check(const SimulateConfig& config) const;
};
SimulateOptions add_simulate_options(CLI::App& command, SimulateConfig& config);

// What --costs says.
struct GivenCosts {
  std::string text;  // as it was given
  StageCosts all;    // of every stage, where `stages` is empty
  std::vector<StageCosts> stages;
  double latency = 0, bandwidth = 0;
  bool bytes = false;         // whether slots have their bytes
  bool milliseconds = false;  // of a report; otherwise times have no unit
  int micro_batches = 0;      // of a report; otherwise 0

  // Of a table with so many stages; those of `all` divided by `share`. Throws UsageError when there
  // are costs of another number of stages.
  SimulationCosts of_stages(int count, double share = 1) const;
};
// Keys and numbers ("f=1,b=2") or a file of JSON: an object with the same keys, f, b, w, r, bytes
// and message also as arrays; an array of objects, one for each stage, by itself or under "stages";
// or a report of `train`. Throws UsageError naming key and value, Error naming also the file.
GivenCosts read_costs(const std::string& text);

// A replayed schedule.
struct SimulatedSchedule {
  Schedule schedule;
  SimulationCosts costs;
  Simulation simulation;
  int chunks = 1;                           // the most stages of a rank
  std::vector<std::vector<int>> stages_of;  // by rank
  double formula = -1;                      // textbook_bubble()
  std::string formula_text;
  std::string error;  // why there is none of all this but the schedule's name; else empty
};
nlohmann::json to_json(const SimulatedSchedule& run, const GivenCosts& costs);
std::string to_text(const SimulatedSchedule& run, const GivenCosts& costs);
// Side by side; `config` has their K and M.
nlohmann::json to_json(const std::vector<SimulatedSchedule>& runs, const SimulateConfig& config,
                       const GivenCosts& costs);
std::string to_text(const std::vector<SimulatedSchedule>& runs, const SimulateConfig& config,
                    const GivenCosts& costs);

// Replays, writes the files that `config` names, and returns what is to be printed. Throws
// UsageError and Error; then no file was written or changed.
std::string simulate_command(const SimulateConfig& config);

}  // namespace stagecoach
