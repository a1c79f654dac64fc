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
#include "pipeline/schedule/reach.h"
#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// What an action waits for: what makes its data, then the readers of the buffer that it writes,
// from one stage to another. Made for every action of large tables, so never on the heap.
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
    first_reader_ = {kind, first, micro_batch};
    readers_ = last - first + 1;
  }
  int size() const { return has_data_ + readers_; }
  Action operator[](int i) const {
    if (i < has_data_) return data_;
    return {first_reader_.kind, first_reader_.stage + i - has_data_, first_reader_.micro_batch};
  }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, size()}; }

 private:
  Action data_, first_reader_;
  int has_data_ = 0, readers_ = 0;
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

  // F, B, W and sends only.
  DependencyList of(const Action& action) const;
  // Why `action` waits for `dependency`, in words; empty when it reads what that made.
  std::string reason(const Action& action, const Action& dependency) const;
  // Whether `dependency`, one of action's, is on another rank and makes what `action` reads.
  bool is_message(const Action& action, const Action& dependency) const {
    return action.micro_batch == dependency.micro_batch && action.stage != dependency.stage &&
           rank_of_[action.stage] != rank_of_[dependency.stage];
  }

  bool communicates() const { return communicates_; }
  const Reach& reach() const { return reach_; }
  int rank_of(int stage) const { return rank_of_[stage]; }
  // A dense number of F, B, W or a send, below size(). Micro-batches of a stage and kind are
  // neighbours.
  std::size_t index(ActionKind kind, int stage, int micro_batch) const {
    const std::size_t row = kind == ActionKind::kSendActivation ? 3
                            : kind == ActionKind::kSendGradient ? 4
                                                                : static_cast<std::size_t>(kind);
    return (row * stages_ + stage) * micro_batches_ + micro_batch;
  }
  std::size_t index(const Action& action) const {
    return index(action.kind, action.stage, action.micro_batch);
  }
  std::size_t size() const { return (communicates_ ? 5 : 3) * stages_ * micro_batches_; }
  // The numbers of what is done with `action`: two for BW, none for what nobody waits for.
  Completed completed_by(const Action& action) const;

 private:
  bool crosses_ranks(int upper_stage) const {
    return communicates_ && rank_of_[upper_stage] != rank_of_[upper_stage + 1];
  }

  std::size_t stages_, micro_batches_;
  bool communicates_, trains_;
  std::vector<int> rank_of_;
  Reach reach_;
  std::optional<BufferCounts> buffers_;
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
  while (!ready.empty()) {
    const std::int32_t rank = ready.back();
    ready.pop_back();
    const std::vector<Action>& actions = schedule.ranks[rank];
    for (std::size_t& at = position[rank]; at < actions.size(); ++at) {
      const DependencyList needed = dependencies.of(actions[at]);
      if (!can_run(rank, needed)) break;
      visit(static_cast<int>(rank), at, actions[at], needed);
      for (const std::size_t completed : dependencies.completed_by(actions[at])) {
        std::int32_t& own = state[completed];
        for (std::int32_t waiter = own; waiter != kNobody; waiter = next_waiter[waiter]) {
          ready.push_back(waiter);
        }
        own = kDone;
      }
    }
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    if (position[rank] < schedule.ranks[rank].size()) {
      throw_deadlock(schedule, dependencies, position, waits_for);
    }
  }
}

}  // namespace stagecoach
