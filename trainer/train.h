// The commands of the program.
#pragma once

#include <string>

#include "trainer/config.h"
#include "trainer/report.h"

namespace stagecoach {

// `stagecoach train`: trains, writes the files that `config` names, and returns the report. Throws
// UsageError and Error; files that were there before stay as they were unless the run ended well,
// but for the metrics, which keep the steps of a run that failed later.
RunReport train(const TrainConfig& config);

// `stagecoach info`: what this machine and this build have.
std::string info_text();

}  // namespace stagecoach
