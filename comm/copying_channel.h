// A channel between two ranks of one process on two devices.
#pragma once

#include <memory>

#include "comm/channel.h"
#include "comm/rendezvous.h"

namespace stagecoach {

// receive() copies the message into the consumer's memory, on the consumer's stream. `ranks`: as of
// make_local_channel().
std::unique_ptr<Channel> make_copying_channel(
    std::shared_ptr<Rendezvous> ranks = std::make_shared<Rendezvous>());

}  // namespace stagecoach
