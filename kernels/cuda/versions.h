// The libraries of the CUDA backend, which are opened when first needed.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace stagecoach::cuda {

// Name and version ("9.19.0"), or why it cannot be opened; empty where the build has no CUDA.
std::vector<std::pair<std::string, std::string>> library_versions();

}  // namespace stagecoach::cuda
