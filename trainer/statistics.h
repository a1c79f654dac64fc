// Statistics: from the traces of single steps to the report's table and bubble.
#pragma once

#include <deque>
#include <random>
#include <vector>

#include "comm/calibration.h"
#include "pipeline/picture/trace.h"
#include "pipeline/schedule/simulate.h"
#include "trainer/report.h"

namespace stagecoach {

// Of an unsorted list, the upper one of two middles; 0 for none.
double median(std::vector<double> values);

class Statistics {
 public:
  // Of a run with this many stages, whose W of so many micro-batches are a group: see
  // SimulationCosts.
  Statistics(int stages, int weight_group) : stages_(stages), weight_group_(weight_group) {}
  // What no trace says, for costs(): how fast messages are, and the bytes of each stage's. Without:
  // they take no time.
  void set_messages(const LinkSpeed& speed, std::vector<std::int64_t> bytes);

  // Adds a training step: its trace, and the seconds from its batch's request, or from the end of
  // the step before it where that came later, to its end. Medians are of all steps; of more than
  // kTimedSteps, of so many drawn from them, each step as likely as any other.
  void add(std::vector<TraceEvent> trace, double seconds);

  double step_seconds_median() const;
  // Times of each stage, medians over the steps.
  std::vector<StageReport> stages() const;
  // The times of one step for one micro-batch, and those of messages: of the step whose replay
  // takes the median. Medians of single times are of no step: where these vary, they add up to
  // less. Of many steps, or large tables, as many are replayed as kReplayedActions allows.
  SimulationCosts costs(const Program& program) const;
  static constexpr std::size_t kReplayedActions = 4'000'000;
  // `program` replayed with them.
  Simulation predicted(const Program& program) const;
  // Its idle time, measured and predicted.
  BubbleReport bubble(const Program& program) const;

  // The last steps' events, at most kKeptSteps of them; and of these the step whose makespan is the
  // median.
  static constexpr std::size_t kKeptSteps = 100;
  static constexpr std::size_t kTimedSteps = 4096;
  std::size_t timed_steps() const { return steps_.size(); }
  std::vector<TraceEvent> trace() const;
  std::vector<TraceEvent> median_step() const;

 private:
  struct Step {
    double seconds = 0;               // as given to add()
    double makespan = 0;              // from the first start to the end of the last F, B, W or R
    std::vector<StageReport> stages;  // times and ranks only
    double busy() const;
  };
  Step step_of(const std::vector<TraceEvent>& trace) const;
  SimulationCosts costs_of(const Program& program, const std::vector<StageReport>& stages) const;

  int stages_, weight_group_;
  LinkSpeed speed_;
  std::vector<std::int64_t> message_bytes_;
  std::vector<Step> steps_;
  std::size_t added_ = 0;
  std::mt19937_64 random_;  // which steps are kept: the same in every run
  std::deque<std::vector<TraceEvent>> kept_;
};

}  // namespace stagecoach
