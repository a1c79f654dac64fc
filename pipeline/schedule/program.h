// Program: a schedule that has passed check(), with all that follows from it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "pipeline/schedule/buffer_counts.h"
#include "pipeline/schedule/dependencies.h"
#include "pipeline/schedule/placement.h"
#include "pipeline/schedule/reach.h"
#include "pipeline/schedule/schedule.h"
#include "pipeline/schedule/slot_use.h"

namespace stagecoach {

struct CheckOptions;

// Immutable, and cheap to copy. Only check() makes one, so what takes a Program needs no proof of
// its own: it is complete, ordered, and ends.
class Program {
 public:
  const Schedule& schedule() const;
  const std::string& name() const { return schedule().name; }
  Generator generator() const { return schedule().generator; }
  int stages() const { return schedule().stages; }
  int micro_batches() const { return schedule().micro_batches; }
  int ranks() const { return static_cast<int>(schedule().ranks.size()); }

  std::span<const Action> actions(int rank) const;
  const Placement& placement() const { return dependencies().placement(); }
  // Of a stage that is on one rank; of one on several, the first.
  int rank_of(int stage) const { return placement().ranks_of(stage).front(); }
  // Ascending.
  std::span<const int> stages_of(int rank) const;

  bool trains() const;        // else it is forward-only
  bool communicates() const;  // has sends and receives
  // Whether W of every stage come in the order of micro-batches within each of the placement's
  // groups: what trains has to.
  bool sums_in_order() const;

  const BufferCounts& buffers() const;
  const SlotUse& slots() const;
  const Reach& reach() const;
  // Over data and these buffers; data_dependencies(): as if there were enough of them.
  const Dependencies& dependencies() const;
  const Dependencies& data_dependencies() const;

 private:
  friend Program check(Schedule schedule, const CheckOptions& options);
  friend struct UncheckedProgram;  // of tests: what becomes of tables that check() refuses
  // Counts the buffers unless they are given; Error where ranks then wait for each other.
  Program(Schedule schedule, Reach reach, std::optional<BufferCounts> buffers);

  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace stagecoach
