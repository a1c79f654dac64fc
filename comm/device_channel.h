// The two ends of a channel between two processes whose messages stay on devices.
#pragma once

#include <functional>
#include <memory>

#include "comm/channel.h"
#include "comm/device_link.h"

namespace stagecoach {

// Travels behind each message, on the channel's stream: `write` fills `word` before a message
// leaves, `read` looks at it when one has come. Undefined: nothing does.
struct MessageTrailer {
  Tensor word;
  std::function<void()> write, read;
};

// `link`: of this channel alone, as is `stream`, on which messages come and go; nothing runs on
// those of its calls. `links`, which has made the link, and `stream` outlive the channel. Calls of
// the other end throw Error.
std::unique_ptr<Channel> make_device_sending_channel(DeviceLinks& links, DeviceLink& link,
                                                     Stream& stream, MessageTrailer trailer);
std::unique_ptr<Channel> make_device_receiving_channel(DeviceLinks& links, DeviceLink& link,
                                                       Stream& stream, MessageTrailer trailer);

}  // namespace stagecoach
