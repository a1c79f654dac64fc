// GradientTree: in which order the gradients of a step are added. The step's samples are cut into
// groups, a power of two of them, each of whole micro-batches that follow each other. Within a
// group a gradient is a chain; the groups' sums are the leaves of a binary tree, whose nodes add
// the earlier sum and the later one:
//
//   groups 0 1 2 3:   (0 + 1) + (2 + 3)
//
// So whoever has a subtree's groups can make its sum alone, and the result does not depend on how
// the tree is dealt out. One sum for each level of the tree waits for its neighbour.
#pragma once

#include <vector>

#include "core/context.h"

namespace stagecoach {

class GradientTree {
 public:
  // Throws Error unless `groups` is a power of two that divides the micro-batches.
  GradientTree(int groups, int micro_batches);

  int groups() const { return groups_; }
  // Of the W that comes after `weights` others of the step.
  int group_of(int weights) const { return weights / of_group_; }
  int before_in_group(int weights) const { return weights % of_group_; }
  bool ends_group(int weights) const { return before_in_group(weights) + 1 == of_group_; }
  // Whether W of a group writes to waiting[0], not to the result.
  bool waits(int group) const { return groups_ > 1 && group % 2 == 0; }

  // Memory of sums that wait, each like the result.
  int waiting_sums() const { return levels_; }
  // After the last W of a group: adds what has found its neighbour. After the last group the sum of
  // all is in `result`.
  void end_group(Context& context, int group, const std::vector<Tensor>& waiting,
                 const Tensor& result) const;

 private:
  int groups_, of_group_, levels_ = 0;
};

}  // namespace stagecoach
