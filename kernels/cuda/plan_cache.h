// The file of the engines that timing found fastest (--tune), so that it is timed once per machine.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "kernels/cuda/conv2d_problem.h"

namespace stagecoach::cuda {

// stagecoach/cudnn_plans.json in the cache folder, $XDG_CACHE_HOME or ~/.cache; empty when neither
// it nor HOME is set.
std::filesystem::path plan_cache_file();

// What a choice is good for: a version of cuDNN, a kind of GPU (its name and number of SMs), a
// convolution.
std::string plan_cache_key(const std::string& cudnn_version, const std::string& device_kind,
                           const ConvProblem& problem);

// Choices by key, read when made. It never fails: a file that cannot be read, is damaged or was
// written by another program counts as empty, and one that cannot be written is left as it is, both
// with a warning. For one thread at a time; other processes may use the file meanwhile.
class PlanCache {
 public:
  // An empty path: nothing is kept beyond this object.
  explicit PlanCache(std::filesystem::path file = plan_cache_file());

  std::optional<EngineChoice> find(const std::string& key) const;
  // Adds or replaces the choice, here and in the file, where what others added stays.
  void store(const std::string& key, const EngineChoice& choice);

 private:
  std::filesystem::path file_;
  std::map<std::string, EngineChoice> choices_;
};

}  // namespace stagecoach::cuda
