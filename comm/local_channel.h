// Channel between two ranks (threads) of one process on one device: hands memory over, copies
// nothing.
#pragma once

#include <memory>

#include "comm/channel.h"

namespace stagecoach {

std::unique_ptr<Channel> make_local_channel();

}  // namespace stagecoach
