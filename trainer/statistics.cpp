#include "trainer/statistics.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/error.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/formula.h"
#include "pipeline/schedule/generators.h"

namespace stagecoach {
namespace {

double& time_of(StageReport& stage, TraceKind kind) {
  switch (kind) {
    case TraceKind::kForward:
      return stage.forward_seconds;
    case TraceKind::kBackwardInput:
      return stage.backward_input_seconds;
    case TraceKind::kBackwardWeight:
      return stage.backward_weight_seconds;
    case TraceKind::kRecompute:
      return stage.recompute_seconds;
    case TraceKind::kSend:
    case TraceKind::kReceive:
      return stage.communication_seconds;
    case TraceKind::kOptimizer:
      return stage.optimizer_seconds;
    case TraceKind::kReduce:
      return stage.reduce_seconds;
    case TraceKind::kBackward:  // never: a run measures its B and its W
    case TraceKind::kWait:
      break;
  }
  return stage.wait_seconds;
}

// What comes after a step's work, or beside it.
bool is_of_the_update(TraceKind kind) {
  return kind == TraceKind::kOptimizer || kind == TraceKind::kReduce;
}
bool is_work(TraceKind kind) {
  return kind != TraceKind::kWait && !is_of_the_update(kind);
}

struct Makespan {
  double start = 0, end = 0;
  double seconds() const { return end - start; }
};

Makespan makespan_of(const std::vector<TraceEvent>& trace) {
  if (trace.empty()) return {};
  Makespan span{trace.front().start, trace.front().start};
  for (const TraceEvent& event : trace) {
    span.start = std::min(span.start, event.start);
    if (is_work(event.kind)) span.end = std::max(span.end, event.end);
  }
  return span;
}

// The W of a stage that end a group, which cost what layers put off until then. In ascending order;
// with a recompute interval, in parts.
class GroupEnds {
 public:
  void add(const TraceEvent& weight, int group) {
    if ((weight.micro_batch + 1) % group != 0) return;
    if (std::exchange(newest_, weight.micro_batch) != weight.micro_batch) ++count_;
    sum_ += weight.end - weight.start;
  }
  double mean() const { return count_ > 0 ? sum_ / count_ : 0; }

 private:
  int newest_ = -1, count_ = 0;
  double sum_ = 0;
};

// The makespan that is predicted, as makespan_of() measures it.
double work_end(const Program& program, const SimulationCosts& costs) {
  return simulate(program, costs, BufferLimit::kPlanned, false).work_end;
}

// By stage: what of the sums over replicas ran before the end of its last W. Parameters that are
// gathered behind the optimizer are of the sums, too.
std::vector<double> sums_beside_weights(const std::vector<TraceEvent>& trace, int stages) {
  std::vector<double> weights_end(static_cast<std::size_t>(stages)), seconds(weights_end.size());
  for (const TraceEvent& event : trace) {
    if (event.kind == TraceKind::kBackwardWeight) weights_end[event.stage] = event.end;
  }
  for (const TraceEvent& event : trace) {
    if (event.kind != TraceKind::kReduce) continue;
    seconds[event.stage] +=
        std::max(0.0, std::min(event.end, weights_end[event.stage]) - event.start);
  }
  return seconds;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double Statistics::Step::busy() const {
  double sum = 0;
  for (const StageReport& stage : stages) sum += stage.busy_seconds();
  return sum;
}

Statistics::Step Statistics::step_of(const std::vector<TraceEvent>& trace) const {
  Step step;
  const Makespan makespan = makespan_of(trace);
  step.makespan = makespan.seconds();
  step.stages.resize(static_cast<std::size_t>(stages_));
  std::vector<double> used;                   // per rank: all but waiting
  std::set<std::pair<int, int>> in_backward;  // stages and micro-batches whose B has begun
  std::vector<GroupEnds> ends(step.stages.size());
  for (const TraceEvent& event : trace) {
    StageReport& stage = step.stages[static_cast<std::size_t>(event.stage)];
    const double seconds = event.end - event.start;
    stage.rank = event.rank;
    time_of(stage, event.kind) += seconds;
    if (has_own_row(event) && is_of_the_update(event.kind) && event.start < makespan.end) {
      (event.kind == TraceKind::kReduce ? stage.hidden_reduce_seconds
                                        : stage.hidden_optimizer_seconds) +=
          std::min(event.end, makespan.end) - event.start;
    }
    const std::pair<int, int> key{event.stage, event.micro_batch};
    if (event.kind == TraceKind::kBackwardInput) in_backward.insert(key);
    if (event.kind == TraceKind::kBackwardWeight) {
      ends[static_cast<std::size_t>(event.stage)].add(event, weight_group_);
    }
    if (event.kind == TraceKind::kRecompute && in_backward.contains(key)) {
      stage.recompute_in_backward_seconds += seconds;
    }
    const auto rank = static_cast<std::size_t>(event.rank);
    used.resize(std::max(used.size(), rank + 1), 0.0);
    if (is_work(event.kind)) used[rank] += seconds;
  }
  const std::vector<double> beside = sums_beside_weights(trace, stages_);
  // A rank that has ended its part waits for the others too: all that is not work is waiting.
  for (std::size_t s = 0; s < step.stages.size() && !used.empty(); ++s) {
    StageReport& stage = step.stages[s];
    stage.wait_seconds = std::max(0.0, step.makespan - used[static_cast<std::size_t>(stage.rank)]);
    stage.last_weight_seconds = ends[s].mean();
    stage.reduce_beside_weight_seconds = beside[s];
  }
  return step;
}

void Statistics::set_messages(const LinkSpeed& speed, std::vector<std::int64_t> bytes) {
  speed_ = speed;
  message_bytes_ = std::move(bytes);
}

void Statistics::add(std::vector<TraceEvent> trace, double seconds) {
  Step step = step_of(trace);
  step.seconds = seconds;
  // Vitter's algorithm R.
  const std::size_t place = added_ < kTimedSteps ? added_ : random_() % (added_ + 1);
  ++added_;
  if (place == steps_.size()) {
    steps_.push_back(std::move(step));
  } else if (place < steps_.size()) {
    steps_[place] = std::move(step);
  }
  kept_.push_back(std::move(trace));
  if (kept_.size() > kKeptSteps) kept_.pop_front();
}

double Statistics::step_seconds_median() const {
  std::vector<double> seconds;
  for (const Step& step : steps_) seconds.push_back(step.seconds);
  return median(std::move(seconds));
}

std::vector<StageReport> Statistics::stages() const {
  std::vector<StageReport> result(static_cast<std::size_t>(stages_));
  constexpr double StageReport::*kTimes[] = {&StageReport::forward_seconds,
                                             &StageReport::backward_input_seconds,
                                             &StageReport::backward_weight_seconds,
                                             &StageReport::last_weight_seconds,
                                             &StageReport::recompute_seconds,
                                             &StageReport::recompute_in_backward_seconds,
                                             &StageReport::wait_seconds,
                                             &StageReport::communication_seconds,
                                             &StageReport::optimizer_seconds,
                                             &StageReport::reduce_seconds,
                                             &StageReport::hidden_reduce_seconds,
                                             &StageReport::hidden_optimizer_seconds,
                                             &StageReport::reduce_beside_weight_seconds};
  for (std::size_t s = 0; s < result.size(); ++s) {
    if (!steps_.empty()) result[s].rank = steps_.front().stages[s].rank;
    for (const auto time : kTimes) {
      std::vector<double> values;
      for (const Step& step : steps_) values.push_back(step.stages[s].*time);
      result[s].*time = median(std::move(values));
    }
  }
  return result;
}

SimulationCosts Statistics::costs(const Program& program) const {
  std::size_t actions = 0;
  for (const auto& of_rank : program.schedule().ranks) actions += of_rank.size();
  const std::size_t count =
      std::min(steps_.size(), kReplayedActions / std::max<std::size_t>(actions, 1));
  if (count == 0) return costs_of(program, stages());
  std::vector<SimulationCosts> costs;
  std::vector<double> makespans;
  for (std::size_t i = 0; i < count; ++i) {
    costs.push_back(costs_of(program, steps_[i * steps_.size() / count].stages));
    makespans.push_back(work_end(program, costs.back()));
  }
  const auto middle = std::ranges::find(makespans, median(makespans));
  return costs[static_cast<std::size_t>(middle - makespans.begin())];
}

SimulationCosts Statistics::costs_of(const Program& program,
                                     const std::vector<StageReport>& stages) const {
  SimulationCosts costs;
  costs.latency = speed_.latency;
  costs.bandwidth = speed_.bandwidth;
  costs.weight_group = weight_group_;
  const double n = program.micro_batches(), ends = n / weight_group_;
  for (const StageReport& stage : stages) {
    StageCosts& one = costs.stages.emplace_back();
    one.forward = stage.forward_seconds / n;
    one.backward_input = stage.backward_input_seconds / n;
    one.last_weight = stage.last_weight_seconds;
    if (n > ends) {
      one.backward_weight =
          std::max(0.0, stage.backward_weight_seconds - ends * one.last_weight) / (n - ends);
    } else {
      one.backward_weight = 0;  // each ends a group
    }
    one.sum = stage.reduce_seconds;
    one.hidden_sum = std::min(one.sum, stage.reduce_beside_weight_seconds);  // medians, each alone
    const std::size_t number = costs.stages.size() - 1;
    if (number < message_bytes_.size()) {
      one.output_bytes = static_cast<double>(message_bytes_[number]);
    }
    const int times = program.slots().recomputed(static_cast<int>(number));
    one.recompute_in_backward = stage.recompute_in_backward_seconds / n;
    if (times > 0) {
      one.recompute = (stage.recompute_seconds - stage.recompute_in_backward_seconds) / times;
    }
  }
  return costs;
}

Simulation Statistics::predicted(const Program& program) const {
  return simulate(program, costs(program), BufferLimit::kPlanned);
}

namespace {

// The makespan if W followed its B at once; nothing where it does, or where that cannot be.
std::optional<double> joint_makespan(const Program& program, const SimulationCosts& costs) {
  const Schedule joint = with_joint_backward(program.schedule());
  if (joint.ranks == program.schedule().ranks) return std::nullopt;
  try {
    return work_end(check(joint), costs);
  } catch (const Error&) {  // a user's table, with B in another order than W
    return std::nullopt;
  }
}

// The makespan under ZB-H1, where that is shorter.
std::optional<double> zb_h1_makespan(const Program& program, const SimulationCosts& costs,
                                     double makespan) {
  const bool again =
      std::ranges::any_of(costs.stages, [](const StageCosts& c) { return c.recompute >= 0; });
  if (program.stages() != program.ranks() || program.generator() == Generator::kZbH1 || again)
    return std::nullopt;
  const Program other = check(zb_h1_schedule(program.ranks(), program.micro_batches()));
  const double shorter = work_end(other, costs);
  return shorter < 0.99 * makespan ? std::optional(shorter) : std::nullopt;
}

}  // namespace

BubbleReport Statistics::bubble(const Program& program) const {
  std::vector<double> measured, makespans;
  for (const Step& step : steps_) {
    if (step.makespan <= 0) continue;
    measured.push_back(1 - step.busy() / (program.ranks() * step.makespan));
    makespans.push_back(step.makespan);
  }
  const SimulationCosts costs = this->costs(program);
  const Simulation simulation = simulate(program, costs, BufferLimit::kPlanned);
  BubbleReport report;
  report.measured = median(std::move(measured));
  report.predicted = simulation.work_bubble();
  if (const double formula = textbook_bubble(program.schedule()); formula >= 0)
    report.formula = formula;
  report.formula_text = textbook_formula(program.schedule());
  report.imbalance = imbalance(simulation.busy);
  report.measured_makespan_seconds = median(std::move(makespans));
  report.predicted_makespan_seconds = simulation.work_end;
  report.joint_makespan_seconds = joint_makespan(program, costs);
  report.zb_h1_makespan_seconds = zb_h1_makespan(program, costs, simulation.work_end);
  return report;
}

std::vector<TraceEvent> Statistics::trace() const {
  std::vector<TraceEvent> all;
  for (const auto& events : kept_) all.insert(all.end(), events.begin(), events.end());
  return all;
}

std::vector<TraceEvent> Statistics::median_step() const {
  std::vector<double> makespans;
  for (const auto& events : kept_) makespans.push_back(makespan_of(events).seconds());
  const double middle = median(makespans);
  const auto found = std::ranges::find(makespans, middle);
  if (found == makespans.end()) return {};
  return kept_[static_cast<std::size_t>(found - makespans.begin())];
}

}  // namespace stagecoach
