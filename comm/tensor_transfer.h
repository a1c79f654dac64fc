// Tensors between processes by the World's messages, by way of the host's memory where they are on
// a device: for what is not worth a link. They block, and throw what ends a transfer.
#pragma once

#include "comm/world.h"
#include "core/stream.h"
#include "core/tensor.h"

namespace stagecoach {

// After all that was enqueued on `stream`, which is of the tensor's device.
void send_tensor(World& world, int to, int tag, const Tensor& tensor, Stream& stream);
void receive_tensor(World& world, int from, int tag, const Tensor& tensor, Stream& stream);

}  // namespace stagecoach
