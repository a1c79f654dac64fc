// `stagecoach simulate`: a schedule replayed on paper, with given costs.
#pragma once

#include <string>

#include "trainer/cli/simulate_options.h"

namespace stagecoach {

// Replays, writes the files that `config` names, and returns what is to be printed. Throws
// UsageError and Error; then no file was written or changed.
std::string simulate_command(const SimulateConfig& config);

}  // namespace stagecoach
