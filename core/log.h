// Logging goes to stderr through spdlog: spdlog::info, spdlog::warn, spdlog::debug.
#pragma once

#include <spdlog/spdlog.h>

namespace stagecoach {

// Sends the default logger to stderr as "stagecoach: text", warnings as "stagecoach: warning:
// text". `quiet` keeps warnings and errors only.
void initialize_log(bool quiet);

}  // namespace stagecoach
