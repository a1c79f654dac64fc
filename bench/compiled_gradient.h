// A graph of fused_gradients.h, compiled for a context's GPU and run there.
#pragma once

#include <memory>

#include "bench/fused_gradients.h"
#include "core/context.h"

namespace stagecoach::cuda {

// Memory on the context's GPU, at multiples of 16 bytes. The last two of the ReLU's graphs only.
struct GradientOperands {
  void* x = nullptr;
  void* w = nullptr;
  void* y = nullptr;
  void* workspace = nullptr;
  void* relu_output = nullptr;
  void* bias_grad = nullptr;
};

class CompiledGradient {
 public:
  // By the configuration with number `candidate` of configs_to_try(). Throws Error where there is
  // no such configuration or cuDNN cannot compile it.
  CompiledGradient(Context& context, GradientGraph kind, const ConvProblem& problem,
                   std::size_t candidate);

  const EngineNotes& notes() const { return notes_; }
  double compile_seconds() const { return compile_seconds_; }
  std::int64_t workspace_bytes() const;
  // Enqueues it on the context's stream.
  void run(const GradientOperands& operands);

 private:
  GradientGraph kind_;
  std::shared_ptr<cudnnContext> handle_;  // outlives the plan
  std::optional<CudnnDescriptor> plan_;
  EngineNotes notes_;
  double compile_seconds_ = 0;
};

}  // namespace stagecoach::cuda
