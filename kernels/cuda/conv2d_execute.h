// Running a plan of cuDNN.
#pragma once

#include "kernels/cuda/conv2d_library.h"
#include "kernels/cuda/conv2d_plans.h"

namespace stagecoach::cuda {

// Enqueues `plan` on the handle's stream. The plan was made for this handle.
void execute_plan(cudnnHandle_t handle, const ConvPlan& plan, const ConvProblem& problem,
                  const ConvOperands& operands);

}  // namespace stagecoach::cuda
