#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>

#include "core/error.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/generators/table.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// When a rank may run F.
struct Policy {
  const char* name;
  // Micro-batches of a replica whose F is done and whose BW is not, at most: from the replicas of
  // its stage, of this and all later stages, and of the stage that has most.
  int (*most_in_flight)(int own, int from_here, int most);
  bool forwards_first;  // no BW before the replica's last F
};

constexpr Policy kPolicies[] = {
    // One micro-batch of each group at a time.
    {"naive", [](int own, int, int most) { return most / own; }, false},
    {"gpipe", [](int, int, int) { return std::numeric_limits<int>::max(); }, true},
    // As long as one is on its way down and up again, a rank can begin others: with one replica of
    // each stage K - s, as in 1F1B.
    {"1f1b", [](int own, int from_here, int) { return (from_here + own - 1) / own; }, false},
};

const Policy& policy_of(std::string_view name) {
  const auto* found = std::ranges::find(kPolicies, name, &Policy::name);
  if (found != std::end(kPolicies)) return *found;
  throw UsageError("schedule", "naive, gpipe or 1f1b, where stages have replicas of their own",
                   fmt::format("'{}'", name));
}

void check_replicas(const std::vector<int>& replicas) {
  STAGECOACH_CHECK(!replicas.empty(), "schedule", "replicas of at least 1 stage", "none");
  for (const int count : replicas) {
    if (count >= 1 && std::has_single_bit(static_cast<unsigned>(count))) continue;
    throw UsageError("schedule", "1, 2, 4, 8, ... replicas of a stage",
                     fmt::format("{}", fmt::join(replicas, ",")));
  }
}

// Runs each rank's actions as soon as they can, as if a stage with r replicas took r for an F and
// 2r for a BW: then all ranks have as much to do, which is what replicas are for.
class ListScheduler {
 public:
  ListScheduler(const Policy& policy, const std::vector<int>& replicas, Schedule empty)
      : policy_(policy), replicas_(replicas), schedule_(std::move(empty)) {
    const int most = *std::ranges::max_element(replicas);
    group_size_ = schedule_.micro_batches / most;
    int from_here = std::accumulate(replicas.begin(), replicas.end(), 0);
    for (int stage = 0; stage < schedule_.stages; ++stage) {
      const int own = replicas[stage];
      first_rank_.push_back(static_cast<int>(ranks_.size()));
      for (int replica = 0; replica < own; ++replica) {
        Rank rank{.stage = stage,
                  .first_group = replica * most / own,
                  .most_in_flight = policy.most_in_flight(own, from_here, most),
                  .block = schedule_.micro_batches / own};
        rank.next.resize(static_cast<std::size_t>(most / own));
        ranks_.push_back(std::move(rank));
      }
      from_here -= own;
    }
    const auto pairs = static_cast<std::size_t>(schedule_.stages) * schedule_.micro_batches;
    forward_ready_.assign(pairs, kNever);
    backward_ready_.assign(pairs, kNever);
    std::fill_n(forward_ready_.begin(), schedule_.micro_batches, 0);
  }

  Schedule run() && {
    schedule_.ranks.resize(ranks_.size());
    for (int rank = 0; rank < static_cast<int>(ranks_.size()); ++rank) offer(rank);
    while (!offers_.empty()) {
      const Offer offer = offers_.top();
      offers_.pop();
      if (offer.version == ranks_[offer.rank].version) take(offer);
    }
    return std::move(schedule_);
  }

 private:
  struct Next {
    int forward = 0, backward = 0;  // micro-batches of a group that have begun
  };
  struct Rank {
    int stage, first_group, most_in_flight, block;
    std::vector<Next> next = {};  // by group of the replica
    int in_flight = 0, forwards = 0, version = 0;
    std::int64_t free_at = 0;
  };
  // What a rank would do next.
  struct Offer {
    std::int64_t start = kNever;
    bool forward = false;  // BW first
    std::int64_t ready = kNever;
    int position = 0, group = 0, rank = 0, version = 0;
    auto key() const { return std::tie(start, forward, ready, position, group, rank); }
    bool operator>(const Offer& other) const { return key() > other.key(); }
  };

  std::size_t index(int stage, int micro) const {
    return static_cast<std::size_t>(stage) * schedule_.micro_batches + micro;
  }
  int micro_of(const Rank& rank, int group, int position) const {
    return (rank.first_group + group) * group_size_ + position;
  }

  void offer(int number) {
    Rank& rank = ranks_[number];
    ++rank.version;
    Offer best;
    const auto consider = [&](bool forward, int group, int position) {
      if (position >= group_size_) return;
      const std::vector<std::int64_t>& ready_at = forward ? forward_ready_ : backward_ready_;
      const std::int64_t ready = ready_at[index(rank.stage, micro_of(rank, group, position))];
      if (ready == kNever) return;
      const Offer one{
          std::max(ready, rank.free_at), forward, ready, position, group, number, rank.version};
      if (best > one) best = one;
    };
    for (int group = 0; group < static_cast<int>(rank.next.size()); ++group) {
      if (rank.in_flight < rank.most_in_flight) consider(true, group, rank.next[group].forward);
      if (policy_.forwards_first && rank.forwards < rank.block) continue;
      consider(false, group, rank.next[group].backward);
    }
    if (best.start != kNever) offers_.push(best);
  }

  void take(const Offer& offer) {
    Rank& rank = ranks_[offer.rank];
    const int stage = rank.stage, micro = micro_of(rank, offer.group, offer.position);
    rank.free_at = offer.start + (offer.forward ? 1 : 2) * replicas_[stage];
    int neighbour = offer.rank;  // who can go on when this has ended
    if (offer.forward) {
      ++rank.next[offer.group].forward;
      ++rank.forwards;
      ++rank.in_flight;
      const bool last = stage + 1 == schedule_.stages;
      auto& ready = last ? backward_ready_ : forward_ready_;
      ready[index(last ? stage : stage + 1, micro)] = rank.free_at;
      if (!last) neighbour = rank_of(stage + 1, micro);
    } else {
      ++rank.next[offer.group].backward;
      --rank.in_flight;
      if (stage > 0) {
        backward_ready_[index(stage - 1, micro)] = rank.free_at;
        neighbour = rank_of(stage - 1, micro);
      }
    }
    schedule_.ranks[offer.rank].push_back(
        {offer.forward ? ActionKind::kForward : ActionKind::kBackward, stage, micro});
    this->offer(offer.rank);
    if (neighbour != offer.rank) this->offer(neighbour);
  }

  int rank_of(int stage, int micro) const {
    const int first = first_rank_[stage];
    return first + micro / ranks_[first].block;
  }

  const Policy& policy_;
  const std::vector<int>& replicas_;
  Schedule schedule_;
  int group_size_ = 1;
  std::vector<int> first_rank_;  // by stage
  std::vector<Rank> ranks_;
  std::vector<std::int64_t> forward_ready_, backward_ready_;  // by stage and micro-batch
  std::priority_queue<Offer, std::vector<Offer>, std::greater<>> offers_;
};

}  // namespace

// 1F1B where the first of two stages has two replicas, three micro-batches each; F of the first
// stage takes two columns:
//
//   rank 0  F0--- F1--- BW0--------- F2--- BW1--------- BW2---------
//   rank 1  F3--- F4--- ...                  (likewise, its BW a little later)
//   rank 2  .  .  F0 BW0-- F3 BW3-- F1 BW1-- ...
Schedule make_replicated_schedule(std::string_view name, const std::vector<int>& replicas,
                                  int micro_batches) {
  const Policy& policy = policy_of(name);
  check_replicas(replicas);
  const std::int64_t all = std::int64_t{micro_batches} * *std::ranges::max_element(replicas);
  if (all > std::numeric_limits<int>::max()) {
    throw UsageError("schedule", "micro-batches of all replicas that an int counts",
                     fmt::format("{}", all));
  }
  return ListScheduler(policy, replicas,
                       empty_table(Generator::kNone, std::string(name),
                                   static_cast<int>(replicas.size()), static_cast<int>(all)))
      .run();
}

}  // namespace stagecoach
