#include "pipeline/schedule/partition.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"
#include "pipeline/schedule/simulate.h"

namespace stagecoach {
namespace {

constexpr double kImpossible = std::numeric_limits<double>::infinity();

// As an int; throws UsageError unless 1 to `layers`.
int checked_stages(const char* operation, std::int64_t stages, int layers) {
  if (stages >= 1 && stages <= layers) return static_cast<int>(stages);
  throw UsageError(operation, fmt::format("1 to {} stages for {} layers", layers, layers),
                   std::to_string(stages), "every stage needs a layer");
}

// best[k][i]: the cost of the most expensive stage when layers i ... end are cut into k stages in
// the best way. The sum of a stage is taken layer by layer, never as a difference of sums: so equal
// stages have equal costs and a tie is a tie.
std::vector<std::vector<double>> best_suffixes(const LayerCosts& costs, int stages) {
  const int layers = static_cast<int>(costs.size());
  std::vector<std::vector<double>> best(stages + 1, std::vector<double>(layers + 1, kImpossible));
  best[0][layers] = 0;
  for (int k = 1; k <= stages; ++k) {
    for (int i = layers - k; i >= 0; --i) {
      double stage = 0;
      for (int cut = i + 1; cut <= layers; ++cut) {
        stage += costs[cut - 1];
        if (stage > best[k][i]) break;  // it only grows
        best[k][i] = std::min(best[k][i], std::max(stage, best[k - 1][cut]));
      }
    }
  }
  return best;
}

// The length of a step whose stages are cut like that.
double makespan_of(const Partition& partition, const LayerCosts& costs, const Program& program) {
  SimulationCosts simulated;
  for (int stage = 0; stage < partition.stages(); ++stage) {
    double third = 0;
    for (int i = partition.first[stage]; i < partition.end(stage); ++i) third += costs[i] / 3;
    simulated.stages.push_back({third, third, third});
  }
  return simulate(program, simulated, BufferLimit::kPlanned, false).makespan;
}

}  // namespace

Partition partition_by_cost(const LayerCosts& costs, std::int64_t wanted) {
  const int layers = static_cast<int>(costs.size());
  const int stages = checked_stages("partition_by_cost", wanted, layers);
  for (int layer = 0; layer < layers; ++layer) {
    STAGECOACH_CHECK(std::isfinite(costs[layer]) && costs[layer] >= 0, "partition_by_cost",
                     "costs that are finite and not negative",
                     fmt::format("{} for layer {}", costs[layer], layer));
  }
  const auto best = best_suffixes(costs, stages);
  const double most = best[stages][0];
  Partition partition{{0}, layers};
  for (int left = stages - 1; left > 0; --left) {
    // The earliest cut after which the other stages can still keep to `most`.
    int cut = partition.first.back() + 1;
    while (best[left][cut] > most) ++cut;
    partition.first.push_back(cut);
  }
  return partition;
}

Partition partition_by_makespan(const LayerCosts& costs, const Program& program) {
  constexpr std::size_t kMostActions = 100'000'000;  // simulated in all: seconds
  Partition best = partition_by_cost(costs, program.stages());
  std::size_t actions = 0;
  for (const auto& rank : program.schedule().ranks) actions += rank.size();
  const std::size_t tries = costs.size() * static_cast<std::size_t>(program.stages()) * 10;
  const bool single = program.stages() == program.ranks();
  if (single || actions * tries > kMostActions) return best;
  double shortest = makespan_of(best, costs, program);
  for (bool moved = true; moved;) {
    moved = false;
    for (int stage = 1; stage < best.stages(); ++stage) {
      const int from = best.first[stage - 1] + 1, end = best.end(stage);
      for (int cut = from; cut < end; ++cut) {
        Partition other = best;
        other.first[stage] = cut;
        const double makespan = makespan_of(other, costs, program);
        // Not for rounding's sake: it must end.
        if (makespan >= shortest * (1 - 1e-9)) continue;
        shortest = makespan;
        best = other;
        moved = true;
      }
    }
  }
  return best;
}

Partition partition_at(const std::vector<int>& cuts, int layers, std::int64_t wanted) {
  const int stages = checked_stages("partition", wanted, layers);
  Partition partition{{0}, layers};
  partition.first.insert(partition.first.end(), cuts.begin(), cuts.end());
  const bool ascending = std::adjacent_find(partition.first.begin(), partition.first.end(),
                                            std::greater_equal<>()) == partition.first.end();
  if (partition.stages() == stages && ascending && partition.first.back() < layers) {
    return partition;
  }
  throw UsageError(
      "partition",
      stages == 1 ? "no cut for 1 stage"
      : stages == 2
          ? fmt::format("one number from 1 to {}: the first layer of the second stage", layers - 1)
          : fmt::format(
                "{} ascending numbers from 1 to {}, separated by commas: the first layer of each "
                "stage but the first",
                stages - 1, layers - 1),
      fmt::format("'{}'", fmt::join(cuts, ",")));
}

std::string describe(const Partition& partition, const LayerCosts& costs,
                     std::string_view cost_unit) {
  STAGECOACH_CHECK(costs.size() == static_cast<std::size_t>(partition.layers), "describe",
                   fmt::format("the costs of {} layers", partition.layers),
                   std::to_string(costs.size()));
  std::vector<double> stage_costs;
  double sum = 0, most = 0;
  for (int stage = 0; stage < partition.stages(); ++stage) {
    double cost = 0;
    for (int i = partition.first[stage]; i < partition.end(stage); ++i) cost += costs[i];
    stage_costs.push_back(cost);
    sum += cost;
    most = std::max(most, cost);
  }
  const std::string heading = fmt::format("cost ({})", cost_unit);
  const int width = std::max(10, static_cast<int>(heading.size()));
  std::string text =
      fmt::format("{:>5}  {:>9}  {:>{}}  {:>6}\n", "stage", "layers", heading, width, "share");
  for (int stage = 0; stage < partition.stages(); ++stage) {
    const int first = partition.first[stage], last = partition.end(stage) - 1;
    const std::string range =
        first == last ? std::to_string(first) : fmt::format("{} - {}", first, last);
    text += fmt::format("{:>5}  {:>9}  {:>{}.6g}  {:>5.1f}%\n", stage, range, stage_costs[stage],
                        width, sum > 0 ? 100 * stage_costs[stage] / sum : 0.0);
  }
  const double stages = partition.stages();
  text += fmt::format("imbalance {:.1f}%", most > 0 ? 100 * (1 - sum / stages / most) : 0.0);
  // Of anything but time it says little about how fast the stages are.
  return text + (cost_unit == "ms"
                     ? fmt::format(", best possible speed-up {:.3f}\n", most > 0 ? sum / most : 1.0)
                     : fmt::format(" of the {}\n", cost_unit));
}

}  // namespace stagecoach
