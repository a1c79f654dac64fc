// Placement: which rank has a stage of a micro-batch. A stage may be on several ranks, its
// replicas: each then has a block of the micro-batches that follow each other, as many as the
// others.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// Of tables with faults, too: check() says whether the blocks are as they should be.
class Placement {
 public:
  // The replicas of a stage are the ranks that have an F of it, or without any F the first rank
  // that has an action of it, in the order of their first micro-batches.
  explicit Placement(const Schedule& schedule);

  int replicas(int stage) const { return first_[stage + 1] - first_[stage]; }
  // The most of any stage. In so many groups are the micro-batches of a step: each is in one
  // replica of every stage, whose W come in the order of micro-batches within a group.
  int groups() const { return groups_; }
  // Micro-batches in a group.
  int group_size() const { return group_size_; }
  // Groups that a replica of the stage has.
  int groups_of_replica(int stage) const { return groups_ / replicas(stage); }

  // Of all stages, one stage's replicas after the other's; -1 for a stage that no rank has.
  const std::vector<int>& ranks() const { return ranks_; }
  std::span<const int> ranks_of(int stage) const {
    return std::span(ranks_).subspan(static_cast<std::size_t>(first_[stage]),
                                     static_cast<std::size_t>(replicas(stage)));
  }
  // Of a micro-batch that the table has.
  int replica_of(int stage, int micro_batch) const { return micro_batch / block_[stage]; }
  int rank_of(int stage, int micro_batch) const {
    return ranks_[static_cast<std::size_t>(index(stage, replica_of(stage, micro_batch)))];
  }
  // Of a replica among those of all stages: its place in ranks().
  int index(int stage, int replica) const { return first_[stage] + replica; }
  // Micro-batches of a replica, and the first of them.
  int block(int stage) const { return block_[stage]; }
  int block_begin(int stage, int micro_batch) const {
    return micro_batch - micro_batch % block_[stage];
  }
  // Whether messages go between the stage and the next one for a micro-batch.
  bool apart(int upper_stage, int micro_batch) const {
    return rank_of(upper_stage, micro_batch) != rank_of(upper_stage + 1, micro_batch);
  }
  // Pairs of replicas of the stage and the next one that have micro-batches in common, and the pair
  // of a micro-batch.
  int pairs(int upper_stage) const {
    return replicas(upper_stage) > replicas(upper_stage + 1) ? replicas(upper_stage)
                                                             : replicas(upper_stage + 1);
  }
  int pair_of(int upper_stage, int micro_batch) const {
    return replicas(upper_stage) > replicas(upper_stage + 1)
               ? replica_of(upper_stage, micro_batch)
               : replica_of(upper_stage + 1, micro_batch);
  }

  // A replica's micro-batches are numbered so that its groups take turns: what comes from several
  // replicas of another stage comes that way. Buffers go by these numbers.
  int number_of(int stage, int micro_batch) const {
    const int in_block = micro_batch % block_[stage];
    return in_block % group_size_ * groups_of_replica(stage) + in_block / group_size_;
  }
  // The inverse, of a replica whose block begins there.
  int micro_batch_of(int stage, int block_begin, int number) const {
    const int groups = groups_of_replica(stage);
    return block_begin + number % groups * group_size_ + number / groups;
  }

 private:
  std::vector<int> first_;  // by stage, in ranks_; and the end
  std::vector<int> ranks_;
  std::vector<int> block_;  // by stage
  int groups_ = 1, group_size_ = 1;
};

}  // namespace stagecoach
