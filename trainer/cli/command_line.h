// The program's command line.
#pragma once

#include <filesystem>
#include <optional>

#include "trainer/cli/simulate_options.h"
#include "trainer/request.h"

namespace stagecoach {

enum class Command { kTrain, kSimulate, kInspect, kInfo, kNone };

struct CommandLine {
  Command command = Command::kNone;  // kNone: help or version was printed, exit with `exit_code`
  int exit_code = 0;
  std::optional<TrainRun> train;  // of kTrain
  SimulateConfig simulate;
  std::filesystem::path inspect;  // of kInspect
};

// Parses and resolves. Help and version go to stdout (kNone, 0). Throws UsageError for unknown
// options, bad values and impossible combinations.
CommandLine parse_command_line(int argc, const char* const* argv,
                               const LaunchedProcess& process = {});

}  // namespace stagecoach
