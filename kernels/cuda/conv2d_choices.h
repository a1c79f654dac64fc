// The choice of an engine for each convolution, made once per process and kind of GPU.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "kernels/cuda/conv2d_plans.h"

namespace stagecoach::cuda {

struct ChosenEngine {
  EngineChoice choice;
  std::int64_t workspace_bytes = 0;
};

// What was chosen before, by kind of GPU and problem.
class EngineChoices {
 public:
  // The choice for `problem`; choose() makes it when it is first asked for, from any thread.
  template <typename Choose>
  const ChosenEngine& of(const std::string& kind, const ConvProblem& problem, Choose choose) {
    std::lock_guard lock(mutex_);
    std::map<ConvProblem, ChosenEngine>& of_kind = choices_[kind];
    const auto found = of_kind.find(problem);
    if (found != of_kind.end()) return found->second;
    return of_kind.emplace(problem, choose()).first->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::map<ConvProblem, ChosenEngine>> choices_;
};

// What list_plans() may use for a problem: little workspace for the gradient of an image, which
// training never computes but whose workspace a stage would hold all the same.
PlanLimits limits_for(const ConvProblem& problem);

// cuDNN's first choice: the same for equal GPUs, and from any thread. Throws Error where cuDNN has
// none.
const ChosenEngine& choose_engine(const CudnnDevice& device, const ConvProblem& problem);

}  // namespace stagecoach::cuda
