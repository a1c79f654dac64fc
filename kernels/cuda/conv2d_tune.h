// The choice of an engine by timing on a GPU, where the user asks for it.
#pragma once

#include "core/device.h"
#include "kernels/cuda/conv2d_choices.h"

namespace stagecoach::cuda {

// The fastest of cuDNN's candidates on `gpu`, the one of the device's handle: what the file of
// tuned plans remembers, or else the winner of a race by the median of several runs, which the file
// then remembers. Once per process and kind of GPU, from any thread. A race allocates the operands
// and the largest workspace meanwhile, and should have the GPU for itself; throws Error when there
// is no memory for it.
const ChosenEngine& choose_fastest_engine(const CudnnDevice& device, Device gpu,
                                          const ConvProblem& problem);

}  // namespace stagecoach::cuda
