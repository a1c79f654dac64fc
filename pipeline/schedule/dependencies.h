// Dependencies: the one place that says what an action waits for that is not before it on its rank
// anyway: the data it reads, and the neighbours' buffers it overwrites (see BufferCounts).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/schedule/buffer_counts.h"
#include "pipeline/schedule/placement.h"
#include "pipeline/schedule/reach.h"
#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// What an action waits for: what makes its data, then the readers of the buffer that it writes,
// from one stage to another, or that all replicas of a stage have come to their sum. Made for every
// action of large tables, so never on the heap.
class DependencyList {
 public:
  class Iterator {
   public:
    Iterator(const DependencyList& list, int at) : list_(&list), at_(at) {}
    Action operator*() const { return (*list_)[at_]; }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return at_ == other.at_; }

   private:
    const DependencyList* list_;
    int at_;
  };

  void set_data(const Action& data) {
    data_ = data;
    has_data_ = 1;
  }
  // `kind` of the stages [first, last], of one micro-batch.
  void set_readers(ActionKind kind, int first, int last, int micro_batch) {
    first_other_ = {kind, first, micro_batch};
    others_ = last - first + 1;
    block_ = 0;
  }
  // REDUCE_GRAD of a stage's replicas, each with the first micro-batch of its block.
  void set_replicas(int stage, int replicas, int block) {
    first_other_ = {ActionKind::kReduceGradient, stage, 0};
    others_ = replicas;
    block_ = block;
  }
  int size() const { return has_data_ + others_; }
  Action operator[](int i) const {
    if (i < has_data_) return data_;
    const int other = i - has_data_;
    if (block_ > 0) return {first_other_.kind, first_other_.stage, other * block_};
    return {first_other_.kind, first_other_.stage + other, first_other_.micro_batch};
  }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, size()}; }

 private:
  Action data_, first_other_;
  int has_data_ = 0, others_ = 0;
  int block_ = 0;  // of replicas; 0: the others are stages
};

// At most two.
class Completed {
 public:
  void add(std::size_t index) { values_[size_++] = index; }
  const std::size_t* begin() const { return values_.data(); }
  const std::size_t* end() const { return values_.data() + size_; }

 private:
  std::array<std::size_t, 2> values_;
  std::size_t size_ = 0;
};

class Dependencies {
 public:
  // Without buffers: there are enough of them.
  Dependencies(const Schedule& schedule, Reach reach, std::optional<BufferCounts> buffers = {});

  // Of F, B, W, sends, and where a stage has replicas of what adds their gradients: REDUCE_GRAD, or
  // STEP in a table without.
  DependencyList of(const Action& action) const;
  // Whether it adds gradients of replicas: it ends when all of them have come to theirs.
  bool adds_replicas(const Action& action) const {
    return is_per_stage(action.kind) && placement_.replicas(action.stage) > 1 &&
           (action.kind == ActionKind::kReduceGradient || !reduces_);
  }
  // The number of a rank having come to such an action, in index().
  std::size_t arrival(int rank, int stage) const;
  // Why `action` waits for `dependency`, in words; empty when it reads what that made.
  std::string reason(const Action& action, const Action& dependency) const;
  // Whether `dependency`, one of action's, is on another rank and makes what `action` reads.
  bool is_message(const Action& action, const Action& dependency) const {
    return action.micro_batch == dependency.micro_batch && action.stage != dependency.stage &&
           rank_of(action) != rank_of(dependency);
  }

  // Of a stage's buffers, `count` of them that micro-batches take in turn: which had that of this
  // one before; -1 where it is the first.
  int overwritten(int stage, int micro_batch, int count) const;

  bool communicates() const { return communicates_; }
  const Reach& reach() const { return reach_; }
  const Placement& placement() const { return placement_; }
  // Of an action of a micro-batch, or one that of() has.
  int rank_of(const Action& action) const {
    return placement_.rank_of(action.stage, action.micro_batch);
  }
  // A dense number of F, B, W, a send or a REDUCE_GRAD of set_replicas(), below size().
  // Micro-batches of a stage and kind are neighbours.
  std::size_t index(ActionKind kind, int stage, int micro_batch) const {
    const std::size_t row = kind == ActionKind::kReduceGradient   ? rows() - 1
                            : kind == ActionKind::kSendActivation ? 3
                            : kind == ActionKind::kSendGradient   ? 4
                                                                  : static_cast<std::size_t>(kind);
    return (row * stages_ + stage) * micro_batches_ + micro_batch;
  }
  std::size_t index(const Action& action) const {
    return index(action.kind, action.stage, action.micro_batch);
  }
  std::size_t size() const { return rows() * stages_ * micro_batches_; }
  // The numbers of what is done with `action`: two for BW, none for what nobody waits for.
  Completed completed_by(const Action& action) const;

 private:
  std::size_t rows() const { return (communicates_ ? 5u : 3u) + (placement_.groups() > 1 ? 1 : 0); }
  bool crosses_ranks(int upper_stage, int micro_batch) const {
    return communicates_ && placement_.apart(upper_stage, micro_batch);
  }
  std::size_t stages_, micro_batches_;
  bool communicates_, trains_;
  bool reduces_;  // has REDUCE_GRAD
  Placement placement_;
  Reach reach_;
  std::optional<BufferCounts> buffers_;
};

// Throws Error: all ranks have ended or wait; `position` holds the place where each rank stands and
// `waits_for` what those wait for that have not ended. Names the actions of one cycle.
[[noreturn]] void throw_deadlock(const Schedule& schedule, const Dependencies& dependencies,
                                 const std::vector<std::size_t>& position,
                                 const std::vector<Action>& waits_for);

// Runs every rank's actions in order, each as soon as all its dependencies have run, calling
// visit(rank, position, action, its dependencies), and arrive(rank, number) when a rank has come to
// what adds its replica's gradients. Linear in the number of actions. Throws Error when ranks wait
// for each other.
template <typename Visit, typename Arrive>
void replay(const Schedule& schedule, const Dependencies& dependencies, Visit visit,
            Arrive arrive) {
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
    for (const Action dependency : needed) {
      std::int32_t& other = state[dependencies.index(dependency)];
      if (other == kDone) continue;
      waits_for[rank] = dependency;
      next_waiter[rank] = other;
      other = rank;
      return false;
    }
    return true;
  };
  const auto complete = [&](std::size_t index) {
    for (std::int32_t waiter = state[index]; waiter >= 0; waiter = next_waiter[waiter]) {
      ready.push_back(waiter);
    }
    state[index] = kDone;
  };
  while (!ready.empty()) {
    const std::int32_t rank = ready.back();
    ready.pop_back();
    const std::vector<Action>& actions = schedule.ranks[rank];
    for (std::size_t& at = position[rank]; at < actions.size(); ++at) {
      if (dependencies.adds_replicas(actions[at])) {
        const std::size_t arrival = dependencies.arrival(rank, actions[at].stage);
        if (state[arrival] != kDone) arrive(static_cast<int>(rank), arrival);
        complete(arrival);
      }
      const DependencyList needed = dependencies.of(actions[at]);
      if (!can_run(rank, needed)) break;
      visit(static_cast<int>(rank), at, actions[at], needed);
      for (const std::size_t index : dependencies.completed_by(actions[at])) complete(index);
    }
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    if (position[rank] < schedule.ranks[rank].size()) {
      throw_deadlock(schedule, dependencies, position, waits_for);
    }
  }
}

template <typename Visit>
void replay(const Schedule& schedule, const Dependencies& dependencies, Visit visit) {
  replay(schedule, dependencies, visit, [](int, std::size_t) {});
}

}  // namespace stagecoach
