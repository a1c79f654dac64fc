// The two ends of a channel between two processes. Each has a stream of its own, so that a rank
// computes while its messages travel.
#pragma once

#include <cstdint>
#include <memory>

#include "comm/channel.h"
#include "comm/world.h"

namespace stagecoach {

// `world` outlives the channel. `tag`: of this channel alone, among those between the two
// processes. `failure_flag` (see Context): one that is up at the sender when a message leaves is up
// at the receiver when it arrives; may be null. Calls of the other end throw Error.
std::unique_ptr<Channel> make_sending_channel(World& world, int to, int tag,
                                              std::uint32_t* failure_flag);
std::unique_ptr<Channel> make_receiving_channel(World& world, int from, int tag,
                                                std::uint32_t* failure_flag);

}  // namespace stagecoach
