// Copies between devices.
#pragma once

#include "core/buffer.h"
#include "core/stream.h"

namespace stagecoach {

// Copies the bytes of `from` to `to`, as the next work of `stream`. Both have the same number of
// bytes. A stream of the CPU copies within the CPU's memory only; a GPU's also from and to the host
// or another GPU. Throws Error otherwise. Memory of the host must stay until the copy has run.
void copy(Stream& stream, const Tensor& to, const Tensor& from);

// Makes copies between two devices of a kind do without the host's memory, both ways. False where
// the machine cannot: they go through it then.
bool connect_devices(Device a, Device b);

// A copy in the CPU's memory, after all that was enqueued on `stream`. Blocks.
OwnedTensor to_host(Stream& stream, const Tensor& tensor);

}  // namespace stagecoach
