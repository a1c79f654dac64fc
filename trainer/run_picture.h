// The picture of a run that --svg writes.
#pragma once

#include <filesystem>
#include <string>

#include "pipeline/schedule/program.h"
#include "trainer/report.h"
#include "trainer/statistics.h"

namespace stagecoach {

// What schedule and costs predict of a step, and below it the step of median length. `program`:
// null for the plain loop. Throws Error naming the file.
void write_run_picture(const std::filesystem::path& file, const std::string& title,
                       const Statistics& statistics, const Program* program,
                       const RunReport& report);

}  // namespace stagecoach
