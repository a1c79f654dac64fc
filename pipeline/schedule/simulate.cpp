#include "pipeline/schedule/simulate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "core/error.h"

namespace stagecoach {
namespace {

bool ends_group(int micro_batch, int group, int micro_batches) {
  return micro_batch + 1 == micro_batches || (micro_batch + 1) % group == 0;
}

double seconds_of(const Action& action, const StageCosts& costs, bool ends_group) {
  const double weight =
      ends_group && costs.last_weight >= 0 ? costs.last_weight : costs.backward_weight;
  switch (action.kind) {
    case ActionKind::kForward:
      return costs.forward;
    case ActionKind::kBackwardInput:
      return costs.backward_input;
    case ActionKind::kBackwardWeight:
      return weight;
    case ActionKind::kBackward:
      return costs.backward_input + costs.recompute_in_backward + weight;
    case ActionKind::kRecompute:
      return costs.recompute < 0 ? costs.forward : costs.recompute;
    default:
      return 0;
  }
}

void check_cost(double cost, const std::string& what) {
  STAGECOACH_CHECK(std::isfinite(cost) && cost >= 0, "simulate",
                   what + " that are finite and not negative", fmt::format("{}", cost));
}

void check_costs(const SimulationCosts& costs, int stages) {
  STAGECOACH_CHECK(costs.stages.size() == static_cast<std::size_t>(stages), "simulate",
                   fmt::format("the costs of {} stages", stages),
                   fmt::format("{}", costs.stages.size()));
  for (std::size_t i = 0; i < costs.stages.size(); ++i) {
    const StageCosts& stage = costs.stages[i];
    for (const double cost : {stage.forward, stage.backward_input, stage.backward_weight,
                              std::max(stage.last_weight, 0.0), std::max(stage.recompute, 0.0),
                              stage.recompute_in_backward, stage.slot_bytes, stage.output_bytes,
                              stage.sum, stage.hidden_sum}) {
      check_cost(cost, fmt::format("costs of stage {}", i));
    }
    STAGECOACH_CHECK(stage.hidden_sum <= stage.sum, "simulate",
                     fmt::format("at most the sum of stage {}, {}, hidden", i, stage.sum),
                     fmt::format("{}", stage.hidden_sum));
  }
  check_cost(costs.latency, "latencies");
  check_cost(costs.bandwidth, "bandwidths");
  STAGECOACH_CHECK(costs.weight_group >= 0, "simulate", "groups of at least 0 micro-batches",
                   std::to_string(costs.weight_group));
}

// When messages between ranks arrive. A message is named by its reader's stage: activations come to
// a stage from the one before, gradients from the one after.
class Links {
 public:
  Links(const Program& program, const SimulationCosts& costs)
      : program_(program),
        costs_(costs),
        stages_(static_cast<std::size_t>(program.stages())),
        micro_batches_(static_cast<std::size_t>(program.micro_batches())) {
    const auto has_bytes = [](const StageCosts& stage) { return stage.output_bytes > 0; };
    queues_ = costs.bandwidth > 0 && std::ranges::any_of(costs.stages, has_bytes);
    if (!queues_) return;
    arrival_.resize(2 * stages_ * micro_batches_);
    free_at_.resize(static_cast<std::size_t>(program.ranks()));
  }

  // `action` has ended at `time`: what it sends leaves.
  void send(const Action& action, double time) {
    if (!queues_) return;
    using enum ActionKind;
    const bool communicates = program_.communicates();
    const bool activation = action.kind == (communicates ? kSendActivation : kForward);
    const bool gradient = communicates ? action.kind == kSendGradient
                                       : action.kind == kBackwardInput || action.kind == kBackward;
    const int reader = activation ? action.stage + 1 : gradient ? action.stage - 1 : -1;
    if (reader < 0 || reader >= static_cast<int>(stages_)) return;
    const Placement& placement = program_.placement();
    const int from = placement.rank_of(action.stage, action.micro_batch),
              to = placement.rank_of(reader, action.micro_batch);
    if (from == to) return;
    double& free_at = free_at_[from][to];
    const double bytes = costs_.stages[activation ? action.stage : reader].output_bytes;
    free_at = std::max(free_at, time) + bytes / costs_.bandwidth;
    arrival_[index(gradient, reader, action.micro_batch)] = free_at;
  }

  // Of the message that `reader` waits for, made by what ended at `time`.
  double arrival(const Action& reader, double time) const {
    if (!queues_) return time + costs_.latency;
    const bool gradient = reader.kind != ActionKind::kForward;
    return arrival_[index(gradient, reader.stage, reader.micro_batch)] + costs_.latency;
  }

 private:
  std::size_t index(bool gradient, int reader, int micro_batch) const {
    return ((gradient ? stages_ : 0) + reader) * micro_batches_ + micro_batch;
  }

  const Program& program_;
  const SimulationCosts& costs_;
  std::size_t stages_, micro_batches_;
  bool queues_ = false;                         // whether messages take time to leave
  std::vector<double> arrival_;                 // without the latency
  std::vector<std::map<int, double>> free_at_;  // by sender and receiver
};

// When the sums over replicas end.
class Sums {
 public:
  Sums(const Program& program, const SimulationCosts& costs)
      : placement_(program.placement()),
        costs_(costs),
        weights_(placement_.ranks().size()),
        summed_(placement_.ranks().size()),
        end_(static_cast<std::size_t>(program.stages())),
        free_at_(static_cast<std::size_t>(program.ranks())) {}

  // Behind the last W of a stage's replica, which ends at `end`: what runs beside it has begun.
  void add_weight(int rank, const Action& action, double end) {
    using enum ActionKind;
    const StageCosts& costs = costs_.stages[action.stage];
    const bool is_weight = action.kind == kBackwardWeight || action.kind == kBackward;
    if (!is_weight || costs.hidden_sum == 0) return;
    const int replica = placement_.replica_of(action.stage, action.micro_batch);
    int& weights = weights_[placement_.index(action.stage, replica)];
    if (++weights < placement_.block(action.stage)) return;
    double& free_at = free_at_[rank];
    free_at = std::max(free_at, end - costs.hidden_sum) + costs.sum;
    end_[action.stage] = std::max(end_[action.stage], free_at);
  }

  // Of a REDUCE_GRAD or STEP, to which the rank comes at `start`: the first of a stage sums.
  double end_of(int rank, const Action& action, double start) {
    const auto ranks = placement_.ranks_of(action.stage);
    const auto replica = static_cast<int>(std::ranges::find(ranks, rank) - ranks.begin());
    const int index = placement_.index(action.stage, replica);
    if (summed_[index]) return start;
    summed_[index] = true;
    const StageCosts& costs = costs_.stages[action.stage];
    return costs.hidden_sum > 0 ? std::max(start, end_[action.stage]) : start + costs.sum;
  }

 private:
  const Placement& placement_;
  const SimulationCosts& costs_;
  std::vector<int> weights_;     // by stage and replica: W so far
  std::vector<bool> summed_;     // likewise
  std::vector<double> end_;      // by stage, of what runs beside its ranks
  std::vector<double> free_at_;  // by rank: what sums beside it
};

// Slots in use on each rank. Its actions come in order of time, so no clock is needed.
class SlotPeaks {
 public:
  SlotPeaks(const Program& program, const SimulationCosts& costs)
      : costs_(costs),
        use_(program.slots()),
        slots_(program.schedule().ranks.size(), 0),
        peak_slots_(slots_.size(), 0),
        bytes_(slots_.size(), 0.0),
        peak_bytes_(slots_.size(), 0.0) {}

  const std::vector<int>& peak_slots() const { return peak_slots_; }
  const std::vector<double>& peak_bytes() const { return peak_bytes_; }

  void add(int rank, const Action& action) {
    const double bytes = costs_.stages[action.stage].slot_bytes;
    if (SlotUse::takes(action)) {
      peak_slots_[rank] = std::max(peak_slots_[rank], ++slots_[rank]);
      peak_bytes_[rank] = std::max(peak_bytes_[rank], bytes_[rank] += bytes);
    }
    if (use_.gives(action)) {
      --slots_[rank];
      bytes_[rank] -= bytes;
    }
  }

 private:
  const SimulationCosts& costs_;
  const SlotUse& use_;
  std::vector<int> slots_, peak_slots_;  // by rank
  std::vector<double> bytes_, peak_bytes_;
};

// Of the time of all ranks until `end`.
double idle_share(const std::vector<double>& busy, double end) {
  const double available = static_cast<double>(busy.size()) * end;
  if (available <= 0) return 0;
  return 1 - std::accumulate(busy.begin(), busy.end(), 0.0) / available;
}

}  // namespace

double Simulation::bubble() const {
  return idle_share(busy, makespan);
}
double Simulation::work_bubble() const {
  return idle_share(busy, work_end);
}

Simulation simulate(const Program& program, const SimulationCosts& costs, BufferLimit limit,
                    bool keep_actions) {
  const Schedule& schedule = program.schedule();
  check_costs(costs, schedule.stages);
  const Dependencies& dependencies =
      limit == BufferLimit::kPlanned ? program.dependencies() : program.data_dependencies();
  const std::size_t ranks = schedule.ranks.size();
  std::vector<std::size_t> first(ranks + 1, 0);  // of each rank's actions in the result
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    first[rank + 1] = first[rank] + schedule.ranks[rank].size();
  }
  Simulation result;
  if (keep_actions) result.actions.resize(first[ranks]);
  result.busy.assign(ranks, 0.0);
  Links links(program, costs);
  SlotPeaks slots(program, costs);
  std::vector<double> free_at(ranks, 0.0), begun_at(ranks, -1.0);
  std::vector<double> end_of(dependencies.size());
  Sums sums(program, costs);
  const int group = costs.weight_group > 0 ? costs.weight_group : program.placement().group_size();
  const auto cost_of = [&](const Action& action) {
    return seconds_of(action, costs.stages[action.stage],
                      ends_group(action.micro_batch, group, program.micro_batches()));
  };
  replay(
      schedule, dependencies,
      [&](int rank, std::size_t position, const Action& action, const DependencyList& needed) {
        double start = free_at[rank];
        for (const Action dependency : needed) {
          double done = end_of[dependencies.index(dependency)];
          if (dependencies.is_message(action, dependency)) done = links.arrival(action, done);
          start = std::max(start, done);
        }
        const double seconds = cost_of(action);
        const double end =
            is_per_stage(action.kind) ? sums.end_of(rank, action, start) : start + seconds;
        sums.add_weight(rank, action, end);
        if (keep_actions) result.actions[first[rank] + position] = {rank, action, start, end};
        if (begun_at[rank] < 0) begun_at[rank] = start;
        if (is_compute(action.kind)) {
          result.busy[rank] += seconds;
          result.work_end = std::max(result.work_end, end);
        }
        free_at[rank] = end;
        for (const std::size_t done : dependencies.completed_by(action)) end_of[done] = end;
        links.send(action, end);
        slots.add(rank, action);
      },
      [&](int rank, std::size_t arrival) { end_of[arrival] = free_at[rank]; });
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    result.makespan = std::max(result.makespan, free_at[rank]);
    result.longest_span = std::max(result.longest_span, free_at[rank] - begun_at[rank]);
  }
  STAGECOACH_CHECK(std::isfinite(result.makespan), "simulate", "costs whose sum is finite",
                   fmt::format("{}", result.makespan));
  result.peak_slots = slots.peak_slots();
  result.peak_bytes = slots.peak_bytes();
  return result;
}

double imbalance(const std::vector<double>& busy) {
  if (busy.empty()) return 0;
  const double most = *std::max_element(busy.begin(), busy.end());
  if (most <= 0) return 0;
  const double sum = std::accumulate(busy.begin(), busy.end(), 0.0);
  return 1 - sum / (static_cast<double>(busy.size()) * most);
}

}  // namespace stagecoach
