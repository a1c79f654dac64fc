// The sum of a stage's gradients over replicas by an all-reduce of the transport: what the tree of
// make_exchanged_sum() is compared with. Its order is the transport's, and so are its bits.
#pragma once

#include <memory>

#include "comm/device_link.h"
#include "comm/world.h"
#include "pipeline/replica_sum.h"

namespace stagecoach {

// `group`: of `world`, the replicas of the stage; `gradients`: of this one. Each gets all sums, so
// all_gather() has nothing to do: parameters that one replica alone has updated do not get to the
// others. `flag`: see make_exchanged_sum().
std::unique_ptr<ReplicaSum> make_unordered_sum(World& world, int group, const Tensor& gradients,
                                               std::uint32_t* flag);

// The same on devices. `flag`: F32 [1] of the device, of this sum alone; `failure_flag`: as above.
std::unique_ptr<ReplicaSum> make_linked_unordered_sum(DeviceLinks& links, DeviceGroup& group,
                                                      const Tensor& gradients, const Tensor& flag,
                                                      std::uint32_t* failure_flag);

}  // namespace stagecoach
