// SlotUse: which actions take a slot and which give it back. A slot holds what F saves of one
// micro-batch, until its W; where there is an R, during F and from R to W; in forward-only tables
// during F.
#pragma once

#include <cstddef>
#include <vector>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

class SlotUse {
 public:
  explicit SlotUse(const Schedule& schedule);

  bool trains() const { return trains_; }
  // Whether F of the micro-batch runs a second time: there is an R.
  bool recomputes(int stage, int micro_batch) const {
    return !recomputed_.empty() && recomputed_[index(stage, micro_batch)];
  }
  // How many of the stage's micro-batches have an R.
  int recomputed(int stage) const;

  // The action begins with taking a slot.
  static bool takes(const Action& action) {
    return action.kind == ActionKind::kForward || action.kind == ActionKind::kRecompute;
  }
  // It ends with giving one back.
  bool gives(const Action& action) const {
    const bool keeps_nothing = action.kind == ActionKind::kForward &&
                               (!trains_ || recomputes(action.stage, action.micro_batch));
    return keeps_nothing || action.kind == ActionKind::kBackwardWeight ||
           action.kind == ActionKind::kBackward;
  }

 private:
  std::size_t index(int stage, int micro_batch) const {
    return static_cast<std::size_t>(stage) * micro_batches_ + micro_batch;
  }

  std::size_t micro_batches_;
  bool trains_;
  std::vector<bool> recomputed_;  // by stage and micro-batch; empty where there is no R
};

}  // namespace stagecoach
