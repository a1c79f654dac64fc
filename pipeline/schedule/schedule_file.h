// Schedules as files, in either form.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// Reads either form: a file whose name ends in ".csv" is PyTorch's, any other one the text form.
// The result has stages and micro-batches counted from its actions, the file's name (without
// folders), and its lines. It is not checked yet (see check()), but never has more pairs of stage
// and micro-batch than actions, each pair needing an F: whoever allocates by these numbers
// allocates no more than the file's size warrants.
//
// Throws Error naming file, line, rank and the cell or word that is none, and for a file over 1
// GiB. `notes`, where given, gets a line for people for everything that was left out or changed.
Schedule read_schedule(const std::filesystem::path& file,
                       std::vector<std::string>* notes = nullptr);

}  // namespace stagecoach
