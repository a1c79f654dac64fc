// What core needs of CUDA. A build with CUDA implements it by the runtime library; one without
// (absent.cpp) says so. Including this needs no header of CUDA.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/graph.h"
#include "core/stream.h"

namespace stagecoach::cuda {

// GPUs that this process can use. 0 where there is none, with the reason in `why_none`: no CUDA in
// this build, no driver, one that is too old, no GPU.
int device_count(std::string* why_none = nullptr);

struct DeviceInfo {
  std::string name;          // "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;  // compute capability: 9, 0
  int multiprocessors = 0;
  std::int64_t memory_bytes = 0;       // in all
  std::int64_t free_memory_bytes = 0;  // now
};
// Throws Error when there is no such GPU, with the reason.
DeviceInfo device_info(Device device);

// "driver for CUDA 13.0, runtime 13.0"; empty where the build has no CUDA.
std::string runtime_versions();

std::unique_ptr<Stream> create_stream(Device device);

// Zero-filled memory of a GPU, aligned to Buffer::kAlignment; and host memory that all GPUs reach
// and copies do not stop for. Throw Error when there is none.
void* allocate(std::int64_t bytes, Device device);
void deallocate(void* memory, Device device) noexcept;
void* allocate_pinned(std::int64_t bytes);
void deallocate_pinned(void* memory) noexcept;

// Enqueues a copy on `stream`, which belongs to a GPU; from or to this GPU, the host or another
// GPU.
void copy(Stream& stream, void* to, Device to_device, const void* from, Device from_device,
          std::int64_t bytes);

std::unique_ptr<Graph> capture(std::span<Stream* const> streams,
                               const std::function<void()>& enqueue);

}  // namespace stagecoach::cuda
