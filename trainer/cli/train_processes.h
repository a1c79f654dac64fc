// The program as one of several processes of a training.
#pragma once

#include "comm/launched_process.h"

namespace stagecoach {

// `stagecoach train` in each of the processes that a launcher has started: they train together, one
// of them prints, and what ends one ends all. The exit status.
int train_in_processes(const LaunchedProcess& process, int argc, char** argv);

}  // namespace stagecoach
