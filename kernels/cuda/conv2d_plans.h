// How cuDNN will compute one convolution: the choice of an engine and of its settings, and the plan
// that runs it. Choosing needs a GPU, or only its description.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/conv2d_problem.h"
#include "kernels/cuda/cudnn_graph.h"

namespace stagecoach::cuda {

// What plans are made for.
class CudnnDevice {
 public:
  // A GPU, through a handle of cuDNN that was made while it was current, and that outlives this.
  CudnnDevice(cudnnHandle_t handle, const std::string& name, int multiprocessors);
  // Only a description, as cuDNN's JSON of device properties: plans can be made, but not run.
  // Throws Error when it is damaged.
  explicit CudnnDevice(const std::string& profile);

  // All GPUs that get the same plans: "NVIDIA H100 80GB HBM3, 132 SMs".
  const std::string& kind() const { return kind_; }
  cudnnHandle_t handle() const { return handle_; }  // null for a description
  // Tells heuristics, engines or plans what they are for; `name` is their attribute for a
  // description.
  void describe_to(CudnnDescriptor& descriptor, cudnnBackendAttributeName_t name) const;

 private:
  cudnnHandle_t handle_ = nullptr;
  std::string kind_;
  std::optional<CudnnDescriptor> properties_;
};

// A plan of one convolution.
struct ConvPlan {
  EngineChoice choice;
  std::int64_t workspace_bytes = 0;
  bool tensor_cores = false;
  bool deterministic = true;
  CudnnDescriptor plan;

  // "engine 41, tensor cores, workspace 131 B"
  std::string to_string() const;
};

struct PlanLimits {
  std::int64_t workspace_bytes = std::int64_t{256} << 20;
  std::size_t plans = 1;  // list no more than these
};

// The plans that compute `problem` as it asks, in cuDNN's order of expected speed, at most
// limits.plans. Left out are engines that
// - need more workspace than the limit,
// - sum in no fixed order, where the problem wants determinism,
// - round operands or sums to less than the problem's precision,
// - are compiled at run time: they cost seconds, and a plan made from a description could not be
//   compared with the one on the GPU.
// Throws Error with the reasons when none is left.
std::vector<ConvPlan> list_plans(const CudnnDevice& device, const ConvProblem& problem,
                                 const PlanLimits& limits = {});

// The plan of an earlier choice; none when this cuDNN or this GPU cannot do it, or it is not one
// that list_plans() would take.
std::optional<ConvPlan> rebuild_plan(const CudnnDevice& device, const ConvProblem& problem,
                                     const EngineChoice& choice, const PlanLimits& limits = {});

}  // namespace stagecoach::cuda
