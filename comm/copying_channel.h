// A channel between two ranks of one process on two devices.
#pragma once

#include <memory>

#include "comm/channel.h"
#include "comm/rendezvous.h"

namespace stagecoach {

// Copies each message into the consumer's memory by a stream of its own on the consumer's device,
// beside what both compute; the sender's memory is free when the copy is made, before release().
// In a captured graph, too: what the stream does stands behind the send, and await() behind that.
// `ranks`: as of make_local_channel().
std::unique_ptr<Channel> make_copying_channel(
    Device consumer, std::shared_ptr<Rendezvous> ranks = std::make_shared<Rendezvous>());

}  // namespace stagecoach
