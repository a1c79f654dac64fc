// The sum of a stage's gradients over replicas in processes of their own: recursive halving, which
// is the same tree as sum_replicas(), then recursive doubling.
#pragma once

#include <memory>
#include <vector>

#include "comm/device_link.h"
#include "comm/world.h"
#include "pipeline/replica_sum.h"

namespace stagecoach {

// Bytes of memory that gradients arrive in, in pieces, before they are added.
inline constexpr std::int64_t kExchangeBytes = std::int64_t{4} << 20;

// `processes`: of all replicas of the stage, a power of two, in their order; `replica`: this one;
// `tag`: of this stage's sums; `own`: of this replica; `memory`: kExchangeBytes, of this sum alone.
// `flag`: the failure flag of this process (see Context), or null; behind a reduce_scatter() it is
// up in all processes if it is in one. `world` outlives the sum.
std::unique_ptr<ReplicaSum> make_exchanged_sum(World& world, std::vector<int> processes,
                                               int replica, int tag, const ReplicaTensors& own,
                                               const Tensor& memory, std::uint32_t* flag);

// The same on devices, by links of both directions: of each level of the tree one, the lowest
// first, to the replica that this one adds with there. `flags`: F32 [2] of the device, of this sum
// alone. What it does runs on the contexts of its calls.
std::unique_ptr<ReplicaSum> make_linked_sum(DeviceLinks& links, std::vector<DeviceLink*> levels,
                                            int replica, const ReplicaTensors& own,
                                            const Tensor& memory, const Tensor& flags,
                                            std::uint32_t* failure_flag);

}  // namespace stagecoach
