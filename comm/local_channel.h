// Channels between two ranks of one process.
#pragma once

#include <memory>

#include "comm/channel.h"

namespace stagecoach {

// On one device: hands memory over, copies nothing.
std::unique_ptr<Channel> make_local_channel();
// On two devices: receive() copies the message into the consumer's buffer, on the consumer's
// stream.
std::unique_ptr<Channel> make_copying_channel();

}  // namespace stagecoach
