#include "pipeline/schedule/placement.h"

#include <algorithm>
#include <utility>

namespace stagecoach {
namespace {

// Of a stage on a rank.
struct Replica {
  int stage, first_micro_batch, rank;
  auto operator<=>(const Replica&) const = default;
};

// One for each stage and rank with an F, in order; of a stage without any, its first rank, or -1.
std::vector<Replica> replicas_of(const Schedule& schedule) {
  const int stages = std::max(schedule.stages, 0);
  std::vector<Replica> replicas;
  std::vector<int> any_rank(static_cast<std::size_t>(stages), -1);
  std::vector<bool> has_forward(any_rank.size(), false);
  std::vector<std::ptrdiff_t> last(any_rank.size(), -1);  // by stage, in `replicas`
  for (int rank = 0; rank < static_cast<int>(schedule.ranks.size()); ++rank) {
    for (const Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
      if (action.stage < 0 || action.stage >= stages) continue;
      if (any_rank[action.stage] < 0) any_rank[action.stage] = rank;
      if (action.kind != ActionKind::kForward) continue;
      has_forward[action.stage] = true;
      std::ptrdiff_t& at = last[action.stage];
      if (at < 0 || replicas[static_cast<std::size_t>(at)].rank != rank) {
        at = std::ssize(replicas);
        replicas.push_back({action.stage, action.micro_batch, rank});
      }
      int& first = replicas[static_cast<std::size_t>(at)].first_micro_batch;
      first = std::min(first, action.micro_batch);
    }
  }
  for (int stage = 0; stage < stages; ++stage) {
    if (!has_forward[stage]) replicas.push_back({stage, 0, any_rank[stage]});
  }
  std::ranges::sort(replicas);
  return replicas;
}

}  // namespace

Placement::Placement(const Schedule& schedule) {
  const int stages = std::max(schedule.stages, 0);
  first_.assign(static_cast<std::size_t>(stages) + 1, 0);
  for (const Replica& replica : replicas_of(schedule)) {
    ++first_[replica.stage + 1];
    ranks_.push_back(replica.rank);
  }
  for (int stage = 0; stage < stages; ++stage) first_[stage + 1] += first_[stage];
  for (int stage = 0; stage < stages; ++stage) {
    groups_ = std::max(groups_, replicas(stage));
    // Rounded up, so that every micro-batch has a replica where they do not divide.
    block_.push_back(std::max(1, (schedule.micro_batches + replicas(stage) - 1) / replicas(stage)));
  }
  group_size_ = std::max(1, schedule.micro_batches / groups_);
}

}  // namespace stagecoach
