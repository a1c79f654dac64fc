// Dependencies: the one place that says what an action waits for, besides the actions before it on
// its rank: the data it reads, and the buffers it overwrites (see BufferCounts).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "pipeline/check.h"
#include "pipeline/schedule.h"

namespace stagecoach {

// At most three; made for every action of large tables, so never on the heap.
class DependencyList {
 public:
  void add(ActionKind kind, int stage, int micro_batch) {
    actions_[size_++] = {kind, stage, micro_batch};
  }
  const Action* begin() const { return actions_.data(); }
  const Action* end() const { return actions_.data() + size_; }

 private:
  std::array<Action, 3> actions_;
  std::size_t size_ = 0;
};

class Dependencies {
 public:
  // The arguments must have passed check_tables().
  Dependencies(const Schedule& schedule, const BufferCounts& buffers);

  DependencyList of(const Action& action) const;
  // Why `action` waits for `dependency`, in words; empty when it reads what that made.
  std::string reason(const Action& action, const Action& dependency) const;

  int rank_of(int stage) const { return rank_of_[stage]; }
  // A dense number of `action`, below size(). Micro-batches of a stage and kind are neighbours.
  std::size_t index(const Action& action) const {
    const auto row = static_cast<std::size_t>(action.kind) * stages_ + action.stage;
    return row * micro_batches_ + action.micro_batch;
  }
  std::size_t size() const { return kinds_ * stages_ * micro_batches_; }

 private:
  bool crosses_ranks(int upper_stage) const {
    return kinds_ > 3 && rank_of_[upper_stage] != rank_of_[upper_stage + 1];
  }

  std::size_t stages_, micro_batches_;
  std::size_t kinds_;  // of actions: 3 without communication
  bool trains_;
  std::vector<int> rank_of_;
  BufferCounts buffers_;
};

// Throws Error: all ranks have ended or wait; `position` holds the place where each rank stands and
// `waits_for` what those wait for that have not ended. Names the actions of one cycle.
[[noreturn]] void throw_deadlock(const Schedule& schedule, const Dependencies& dependencies,
                                 const std::vector<std::size_t>& position,
                                 const std::vector<Action>& waits_for);

// Runs every rank's actions in order, each as soon as all its dependencies have run, calling
// visit(rank, position, action, its dependencies). Linear in the number of actions. Throws Error
// when ranks wait for each other.
template <typename Visit>
void replay(const Schedule& schedule, const Dependencies& dependencies, Visit visit) {
  constexpr std::int32_t kDone = -2, kNobody = -1;
  const std::size_t ranks = schedule.ranks.size();
  // Per action: done, or the first rank that waits for it; the next one is in next_waiter.
  std::vector<std::int32_t> state(dependencies.size(), kNobody);
  std::vector<std::int32_t> next_waiter(ranks, kNobody);
  std::vector<std::size_t> position(ranks, 0);
  std::vector<Action> waits_for(ranks);
  std::vector<std::int32_t> ready;
  for (std::size_t rank = ranks; rank-- > 0;) ready.push_back(static_cast<std::int32_t>(rank));

  // False when `rank` has to wait; it is then among the waiters of what it waits for.
  const auto can_run = [&](std::int32_t rank, const DependencyList& needed) {
    for (const Action& dependency : needed) {
      std::int32_t& other = state[dependencies.index(dependency)];
      if (other == kDone) continue;
      waits_for[rank] = dependency;
      next_waiter[rank] = other;
      other = rank;
      return false;
    }
    return true;
  };
  while (!ready.empty()) {
    const std::int32_t rank = ready.back();
    ready.pop_back();
    const std::vector<Action>& actions = schedule.ranks[rank];
    for (std::size_t& at = position[rank]; at < actions.size(); ++at) {
      const DependencyList needed = dependencies.of(actions[at]);
      if (!can_run(rank, needed)) break;
      visit(static_cast<int>(rank), at, actions[at], needed);
      std::int32_t& own = state[dependencies.index(actions[at])];
      for (std::int32_t waiter = own; waiter != kNobody; waiter = next_waiter[waiter]) {
        ready.push_back(waiter);
      }
      own = kDone;
    }
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    if (position[rank] < schedule.ranks[rank].size()) {
      throw_deadlock(schedule, dependencies, position, waits_for);
    }
  }
}

}  // namespace stagecoach
