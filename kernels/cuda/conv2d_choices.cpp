#include "kernels/cuda/conv2d_choices.h"

namespace stagecoach::cuda {

PlanLimits limits_for(const ConvProblem& problem) {
  PlanLimits limits;
  const bool of_image = problem.kind == ConvKind::kBackwardInput && problem.c <= 4;
  if (of_image) limits.workspace_bytes = std::int64_t{16} << 20;
  return limits;
}

const ChosenEngine& choose_engine(const CudnnDevice& device, const ConvProblem& problem) {
  static EngineChoices choices;
  return choices.of(device.kind(), problem, [&] {
    const std::vector<ConvPlan> plans = list_plans(device, problem, limits_for(problem));
    return ChosenEngine{plans.at(0).choice, plans.at(0).workspace_bytes};
  });
}

}  // namespace stagecoach::cuda
