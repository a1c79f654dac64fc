// `stagecoach inspect`: what a file of weights, a checkpoint, or a folder of checkpoints holds.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace stagecoach {

struct InspectOutcome {
  std::string text;                   // to be printed
  std::vector<std::string> failures;  // what is not whole
};

// Reads all of it. Throws Error where there is nothing that could be looked at.
InspectOutcome inspect(const std::filesystem::path& path);

}  // namespace stagecoach
