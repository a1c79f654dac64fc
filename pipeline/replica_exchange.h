// The sum of a stage's gradients over replicas in processes of their own: recursive halving, which
// is the same tree as sum_replicas(), then recursive doubling.
#pragma once

#include <memory>
#include <vector>

#include "comm/world.h"
#include "pipeline/replica_sum.h"

namespace stagecoach {

// Bytes of workspace that enqueue() needs: gradients arrive there in pieces, and are added.
inline constexpr std::int64_t kExchangeWorkspace = std::int64_t{4} << 20;

// `processes`: of all replicas of the stage, a power of two, in their order; `replica`: this one;
// `tag`: of this stage's sums; `gradients` [n]: of this replica. A failure flag that is up in one
// process (see Context) is up in all behind it. `world` outlives the sum.
std::unique_ptr<ReplicaSum> make_exchanged_sum(World& world, std::vector<int> processes,
                                               int replica, int tag, const Tensor& gradients);

}  // namespace stagecoach
