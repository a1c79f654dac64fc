#include "pipeline/simulate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "pipeline/dependencies.h"

namespace stagecoach {
namespace {

double seconds_of(const Action& action, const StageCosts& costs) {
  switch (action.kind) {
    case ActionKind::kForward:
      return costs.forward;
    case ActionKind::kBackwardInput:
      return costs.backward_input;
    case ActionKind::kBackwardWeight:
      return costs.backward_weight;
    default:
      return 0;
  }
}

void check_costs(const std::vector<StageCosts>& costs, int stages) {
  STAGECOACH_CHECK(costs.size() == static_cast<std::size_t>(stages), "simulate",
                   fmt::format("the costs of {} stages", stages), std::to_string(costs.size()));
  for (std::size_t stage = 0; stage < costs.size(); ++stage) {
    for (double cost :
         {costs[stage].forward, costs[stage].backward_input, costs[stage].backward_weight}) {
      STAGECOACH_CHECK(std::isfinite(cost) && cost >= 0, "simulate",
                       fmt::format("costs of stage {} that are finite and not negative", stage),
                       fmt::format("{} s", cost));
    }
  }
}

}  // namespace

double Simulation::bubble() const {
  const double available = static_cast<double>(busy.size()) * makespan;
  if (available <= 0) return 0;
  return 1 - std::accumulate(busy.begin(), busy.end(), 0.0) / available;
}

Simulation simulate(const Schedule& schedule, const std::vector<StageCosts>& costs,
                    const BufferCounts& buffers) {
  check_tables(schedule, buffers);
  check_costs(costs, schedule.stages);
  const Dependencies dependencies(schedule, buffers);
  const std::size_t ranks = schedule.ranks.size();
  std::vector<std::size_t> first(ranks + 1, 0);  // of each rank's actions in the result
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    first[rank + 1] = first[rank] + schedule.ranks[rank].size();
  }
  Simulation result;
  result.actions.resize(first[ranks]);
  result.busy.assign(ranks, 0.0);
  std::vector<double> free_at(ranks, 0.0);
  std::vector<double> end_of(dependencies.size());
  replay(schedule, dependencies,
         [&](int rank, std::size_t position, const Action& action, const DependencyList& needed) {
           double start = free_at[rank];
           for (const Action& dependency : needed) {
             start = std::max(start, end_of[dependencies.index(dependency)]);
           }
           const double seconds = seconds_of(action, costs[action.stage]);
           const double end = start + seconds;
           result.actions[first[rank] + position] = {rank, action, start, end};
           result.busy[rank] += seconds;
           free_at[rank] = end_of[dependencies.index(action)] = end;
         });
  for (double end : free_at) result.makespan = std::max(result.makespan, end);
  return result;
}

double textbook_bubble(const Schedule& schedule) {
  const double stages = schedule.stages, micro_batches = schedule.micro_batches;
  if (schedule.stages < 1 || schedule.micro_batches < 1) return 0;
  if (schedule.name == "naive") return 1 - 1 / stages;
  return (stages - 1) / (micro_batches + stages - 1);
}

double imbalance(const std::vector<double>& busy) {
  if (busy.empty()) return 0;
  const double most = *std::max_element(busy.begin(), busy.end());
  if (most <= 0) return 0;
  const double sum = std::accumulate(busy.begin(), busy.end(), 0.0);
  return 1 - sum / (static_cast<double>(busy.size()) * most);
}

}  // namespace stagecoach
