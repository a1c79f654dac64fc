// What the simulated libraries need of a CUDA runtime that runs on the CPU: this folder's, or that
// of tests/ptx, whose GPUs have memory that the host does not see.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>

namespace simulated {

// Runs `task` as the next work of `stream`, or captures it.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> task);

// Where a task finds what lies at an address of its GPU.
const void* readable(const void* address, std::int64_t bytes);
void* writable(void* address, std::int64_t bytes);

}  // namespace simulated
