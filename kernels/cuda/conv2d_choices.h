// The choice of an engine for each convolution, made once per process and kind of GPU.
#pragma once

#include <cstdint>

#include "kernels/cuda/conv2d_plans.h"

namespace stagecoach::cuda {

struct ChosenEngine {
  EngineChoice choice;
  std::int64_t workspace_bytes = 0;
};

// What list_plans() may use for a problem: little workspace for the gradient of an image, which
// training never computes but whose workspace a stage would hold all the same.
PlanLimits limits_for(const ConvProblem& problem);

// cuDNN's first choice: the same for equal GPUs, and from any thread. Throws Error where cuDNN has
// none.
const ChosenEngine& choose_engine(const CudnnDevice& device, const ConvProblem& problem);

}  // namespace stagecoach::cuda
