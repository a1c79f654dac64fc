// What `stagecoach simulate` says, as text and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pipeline/schedule/simulate.h"
#include "trainer/cli/simulate_costs.h"
#include "trainer/cli/simulate_options.h"

namespace stagecoach {

// A replayed schedule.
struct SimulatedSchedule {
  std::string name;           // of the schedule
  int micro_batches = 0;      // of the table
  std::vector<int> replicas;  // by stage, where any has several in the table; else empty
  SimulationCosts costs;
  Simulation simulation;
  int chunks = 1;                           // the most stages of a rank
  std::vector<std::vector<int>> stages_of;  // by rank
  double formula = -1;                      // textbook_bubble()
  std::string formula_text;
  std::string error;  // why there is none of all this but the name; else empty
};
nlohmann::json to_json(const SimulatedSchedule& run, const GivenCosts& costs);
std::string to_text(const SimulatedSchedule& run, const GivenCosts& costs);
// "K = 4, M = 8, V = 2".
std::string sizes_text(const SimulatedSchedule& run);
// Side by side; `config` has their K and M.
nlohmann::json to_json(const std::vector<SimulatedSchedule>& runs, const SimulateConfig& config,
                       const GivenCosts& costs);
std::string to_text(const std::vector<SimulatedSchedule>& runs, const SimulateConfig& config,
                    const GivenCosts& costs);

}  // namespace stagecoach
