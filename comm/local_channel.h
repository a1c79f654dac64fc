// A channel between two ranks of one process on one device.
#pragma once

#include <memory>

#include "comm/channel.h"
#include "comm/rendezvous.h"

namespace stagecoach {

// Hands memory over, copies nothing. `ranks`: who waits on this channel and on all others of the
// same pipeline.
std::unique_ptr<Channel> make_local_channel(
    std::shared_ptr<Rendezvous> ranks = std::make_shared<Rendezvous>());

}  // namespace stagecoach
