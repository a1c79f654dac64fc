// `stagecoach simulate`: a schedule replayed on paper, with given costs.
#pragma once

#include <string>
#include <vector>

#include "trainer/cli/simulate_options.h"

namespace stagecoach {

struct SimulateOutcome {
  std::string text;                   // to be printed
  std::vector<std::string> failures;  // files that could not be written, each with its reason
};

// Replays and writes the files that `config` names. Throws UsageError and Error where there is
// nothing to write: files that were there before are then as they were.
SimulateOutcome simulate_command(const SimulateConfig& config);

}  // namespace stagecoach
