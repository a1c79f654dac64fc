// What the generators of schedules share.
#pragma once

#include <map>
#include <vector>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// A schedule of `ranks` empty ranks with `chunks` stages on each. Throws Error unless all three are
// at least 1, and UsageError for more micro-batches of stages than an int counts.
Schedule empty_table(Generator generator, std::string name, int ranks, int micro_batches,
                     int chunks = 1);

// Appends to one rank's actions. Every stage has its F, its B and its W in the order of
// micro-batches, so they need only be counted; BW counts as both. Those of micro-batches from
// `micro_batches` on are left out: micro-batches depend on none but themselves, so what is left of
// a table that can run, can.
class RankWriter {
 public:
  RankWriter(std::vector<Action>& actions, int micro_batches)
      : actions_(actions), micro_batches_(micro_batches) {}

  void forward(int stage) { add(ActionKind::kForward, stage, next_[stage].forward++); }
  void backward_input(int stage) {
    add(ActionKind::kBackwardInput, stage, next_[stage].backward_input++);
  }
  void backward_weight(int stage) {
    add(ActionKind::kBackwardWeight, stage, next_[stage].backward_weight++);
  }
  void backward(int stage) {
    add(ActionKind::kBackward, stage, next_[stage].backward_input++);
    ++next_[stage].backward_weight;
  }

 private:
  struct Next {
    int forward = 0, backward_input = 0, backward_weight = 0;
  };

  void add(ActionKind kind, int stage, int micro_batch) {
    if (micro_batch < micro_batches_) actions_.push_back({kind, stage, micro_batch});
  }

  std::vector<Action>& actions_;
  int micro_batches_;
  std::map<int, Next> next_;  // by stage
};

}  // namespace stagecoach
