// The library's part of a convolution on a GPU: everything but the packing of few channels and the
// gradient of the bias. By cuDNN; tests have one on the CPU. Needs no header of CUDA.
#pragma once

#include "core/context.h"
#include "kernels/cuda/conv2d_problem.h"

namespace stagecoach::cuda {

// Memory on the context's GPU, at multiples of 16 bytes, of the shapes and the dtype of a problem.
struct ConvOperands {
  void* x = nullptr;     // written by kBackwardInput
  void* w = nullptr;     // written by kBackwardWeight
  void* y = nullptr;     // written by the forward kinds
  void* bias = nullptr;  // forward kinds only
  void* workspace = nullptr;
};

// Bytes of workspace that run_convolution() needs for `problem` on this target. Chooses how it will
// be computed, once per process: the same for every context. Throws Error when the library cannot.
std::int64_t library_workspace_bytes(const ConvProblem& problem, const Target& target);

// Makes what the library keeps with a context; run_convolution() does, too.
void open_convolutions(Context& context);

// Enqueues the computation on the context's stream.
void run_convolution(Context& context, const ConvProblem& problem, const ConvOperands& operands);

}  // namespace stagecoach::cuda
