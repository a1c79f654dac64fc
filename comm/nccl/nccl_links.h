// Links between GPUs of processes, by NCCL: a communicator of two ranks for each.
#pragma once

#include "comm/device_link.h"

namespace stagecoach {

// Registered with register_device_links() where this is linked. Throws Error where NCCL cannot be
// had, or the GPU is not there.
std::unique_ptr<DeviceLinks> make_nccl_links(World& world, Device device,
                                             std::chrono::milliseconds patience);

}  // namespace stagecoach
