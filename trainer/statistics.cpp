#include "trainer/statistics.h"

#include <algorithm>

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
    case TraceKind::kSend:
    case TraceKind::kReceive:
      return stage.communication_seconds;
    case TraceKind::kOptimizer:
      return stage.optimizer_seconds;
    case TraceKind::kWait:
      break;
  }
  return stage.wait_seconds;
}

double makespan_of(const std::vector<TraceEvent>& trace) {
  if (trace.empty()) return 0;
  double start = trace.front().start, end = start;
  for (const TraceEvent& event : trace) {
    start = std::min(start, event.start);
    if (event.kind != TraceKind::kOptimizer) end = std::max(end, event.end);
  }
  return end - start;
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

Statistics::Step Statistics::step_of(const std::vector<TraceEvent>& trace, int stages) {
  Step step;
  step.makespan = makespan_of(trace);
  step.stages.resize(static_cast<std::size_t>(stages));
  for (const TraceEvent& event : trace) {
    time_of(step.stages[static_cast<std::size_t>(event.stage)], event.kind) +=
        event.end - event.start;
  }
  // A stage that has ended its part waits for the others too: all that is not work is waiting.
  for (StageReport& stage : step.stages) {
    stage.wait_seconds =
        std::max(0.0, step.makespan - stage.busy_seconds() - stage.communication_seconds);
  }
  return step;
}

void Statistics::add(std::vector<TraceEvent> trace, double seconds) {
  step_seconds_.push_back(seconds);
  steps_.push_back(step_of(trace, stages_));
  kept_.push_back(std::move(trace));
  if (kept_.size() > kKeptSteps) kept_.pop_front();
}

std::vector<StageReport> Statistics::stages() const {
  std::vector<StageReport> result(static_cast<std::size_t>(stages_));
  constexpr double StageReport::*kTimes[] = {
      &StageReport::forward_seconds,         &StageReport::backward_input_seconds,
      &StageReport::backward_weight_seconds, &StageReport::wait_seconds,
      &StageReport::communication_seconds,   &StageReport::optimizer_seconds};
  for (std::size_t s = 0; s < result.size(); ++s) {
    for (const auto time : kTimes) {
      std::vector<double> values;
      for (const Step& step : steps_) values.push_back(step.stages[s].*time);
      result[s].*time = median(std::move(values));
    }
  }
  return result;
}

Simulation Statistics::predicted(const Pipeline& pipeline) const {
  std::vector<StageCosts> costs;
  for (const StageReport& stage : stages()) {
    const double n = pipeline.schedule().micro_batches;
    costs.push_back({stage.forward_seconds / n, stage.backward_input_seconds / n,
                     stage.backward_weight_seconds / n});
  }
  return simulate(pipeline.schedule(), costs, pipeline.buffers());
}

BubbleReport Statistics::bubble(const Pipeline& pipeline) const {
  const Schedule& schedule = pipeline.schedule();
  std::vector<double> measured, makespans;
  for (const Step& step : steps_) {
    if (step.makespan <= 0) continue;
    measured.push_back(1 -
                       step.busy() / (static_cast<double>(schedule.ranks.size()) * step.makespan));
    makespans.push_back(step.makespan);
  }
  const Simulation simulation = predicted(pipeline);
  BubbleReport report;
  report.measured = median(std::move(measured));
  report.predicted = simulation.bubble();
  report.formula = textbook_bubble(schedule);
  report.imbalance = imbalance(simulation.busy);
  report.measured_makespan_seconds = median(std::move(makespans));
  report.predicted_makespan_seconds = simulation.makespan;
  return report;
}

std::vector<TraceEvent> Statistics::trace() const {
  std::vector<TraceEvent> all;
  for (const auto& events : kept_) all.insert(all.end(), events.begin(), events.end());
  return all;
}

std::vector<TraceEvent> Statistics::median_step() const {
  std::vector<double> makespans;
  for (const auto& events : kept_) makespans.push_back(makespan_of(events));
  const double middle = median(makespans);
  const auto found = std::ranges::find(makespans, middle);
  if (found == makespans.end()) return {};
  return kept_[static_cast<std::size_t>(found - makespans.begin())];
}

}  // namespace stagecoach
