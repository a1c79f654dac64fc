// The training loop of `stagecoach train`.
#pragma once

#include "trainer/report.h"
#include "trainer/request.h"

namespace stagecoach {

// Trains, writes the files that `run` names, and returns the report. Throws UsageError and Error;
// files that were there before stay as they were unless the run ended well, but for the metrics,
// which keep the steps of a run that failed later.
RunReport train(const TrainRun& run);

}  // namespace stagecoach
