// The training loop of `stagecoach train`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/report.h"
#include "trainer/request.h"

namespace stagecoach {

struct TrainOutcome {
  // Of the steps that ended well; none where not one did.
  std::optional<RunReport> report;
  // What did not work: what ended the training, if something did, then files that could not be
  // written, each with its reason.
  std::vector<std::string> failures;
  int signal = 0;  // that ended the training; 0: none did
};

// Trains and writes the files that `run` names. Throws UsageError and Error where no step could be
// begun: files that were there before are then as they were. From the first step on nothing is
// thrown: whatever ends the training (an error, a signal, interrupt.h), every file is written that
// can be, the weights first. They are those after the last step that ended well; where there was
// none, or stages are left at different steps, they are not written.
TrainOutcome train(const TrainRun& run);

}  // namespace stagecoach
