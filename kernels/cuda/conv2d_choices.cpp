#include "kernels/cuda/conv2d_choices.h"

#include <map>
#include <mutex>

namespace stagecoach::cuda {

PlanLimits limits_for(const ConvProblem& problem) {
  PlanLimits limits;
  const bool of_image = problem.kind == ConvKind::kBackwardInput && problem.c <= 4;
  if (of_image) limits.workspace_bytes = std::int64_t{16} << 20;
  return limits;
}

const ChosenEngine& choose_engine(const CudnnDevice& device, const ConvProblem& problem) {
  static std::mutex mutex;
  static std::map<std::string, std::map<ConvProblem, ChosenEngine>> choices;  // by kind of GPU
  std::lock_guard lock(mutex);
  std::map<ConvProblem, ChosenEngine>& of_kind = choices[device.kind()];
  const auto found = of_kind.find(problem);
  if (found != of_kind.end()) return found->second;
  const std::vector<ConvPlan> plans = list_plans(device, problem, limits_for(problem));
  const ChosenEngine chosen{plans.at(0).choice, plans.at(0).workspace_bytes};
  return of_kind.emplace(problem, chosen).first->second;
}

}  // namespace stagecoach::cuda
