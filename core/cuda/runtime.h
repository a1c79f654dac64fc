// The CUDA runtime: checked calls, the current GPU, the driver's stream behind a Stream. Included
// by the files of core/cuda, kernels/cuda and comm/nccl only, and by benchmarks of the libraries.
#pragma once

#include <cuda_runtime.h>

#include <source_location>

#include "core/context.h"

namespace stagecoach::cuda {

// Throws Error naming the call, the error's symbol and text, and the place, unless `status` is
// success.
void check(cudaError_t status, const char* call,
           std::source_location place = std::source_location::current());

// Throws Error unless there is such a GPU.
void check_device(Device device);

// Makes the device current in the calling thread.
void use(Device device);

// The process's own stream of the device, beside those of contexts: for zeros of new memory and the
// clock. A stream for each use would take hardware queues from those that compute. Lives as long as
// the process; may be used by any thread.
Stream& side_stream(Device device);
// A stream whose work comes before that of others when both are ready.
std::unique_ptr<Stream> create_urgent_stream(Device device);

cudaStream_t native_stream(Stream& stream);
inline cudaStream_t native_stream(Context& context) {
  return native_stream(context.stream());
}

}  // namespace stagecoach::cuda

#define STAGECOACH_CUDA_CHECK(call) ::stagecoach::cuda::check((call), #call)
