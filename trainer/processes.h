// Processes: what the processes of a training tell each other and decide together. Where there are
// no others, each answer is this process's own. All make the same calls in the same order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/world.h"

namespace stagecoach {

class Processes {
 public:
  // `world` null: there are no others. `kind`: of calls that one thread of each process makes.
  explicit Processes(World* world = nullptr, MessageKind kind = MessageKind::kCollective)
      : world_(world), kind_(kind) {}

  int count() const { return world_ == nullptr ? 1 : world_->size(); }
  int rank() const { return world_ == nullptr ? 0 : world_->rank(); }
  // The one that prints, decides and writes for all.
  bool is_first() const { return rank() == 0; }

  std::string of_first(const std::string& own) const;
  std::vector<std::string> of_all(const std::string& own) const;
  std::int64_t greatest(std::int64_t own) const;

 private:
  World* world_;
  MessageKind kind_;
};

}  // namespace stagecoach
