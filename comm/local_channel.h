// Channels between two ranks of one process.
#pragma once

#include <memory>

#include "comm/channel.h"
#include "comm/rendezvous.h"

namespace stagecoach {

// `ranks`: who waits on this channel and on all others of the same pipeline.
//
// On one device: hands memory over, copies nothing.
std::unique_ptr<Channel> make_local_channel(
    std::shared_ptr<Rendezvous> ranks = std::make_shared<Rendezvous>());
// On two devices: receive() copies the message into the consumer's buffer, on the consumer's
// stream.
std::unique_ptr<Channel> make_copying_channel(
    std::shared_ptr<Rendezvous> ranks = std::make_shared<Rendezvous>());

}  // namespace stagecoach
