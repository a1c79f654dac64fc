// How a command ends: what it prints, and its exit status: 0; 2 for usage; 128 + the signal's
// number when one ended a training; 1 for everything else.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "trainer/train.h"

namespace stagecoach {

// An error's message, without the place in the source: users look at their command, not at our
// code. `exit_code`. Where it cannot be printed either, that is what remains.
int fail(const std::string& message, int exit_code);
int exit_code_of(const std::exception_ptr& error);

// The exit status of a command whose text is printed and whose failures are said. `to_errors`: on
// the standard error, where a file of the run is the standard output.
int finish(const std::string& text, bool to_errors, const std::vector<std::string>& failures,
           int exit_code);
int finish(const TrainRun& run, const TrainOutcome& outcome);

}  // namespace stagecoach
