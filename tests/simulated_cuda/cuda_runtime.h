// A CUDA runtime that runs on the CPU, for tests: the sources of core/cuda and kernels/cuda compile
// against this header with an ordinary C++ compiler instead of against NVIDIA's.
//
// Streams are threads with queues, so what lacks an event between two streams is a data race that
// ThreadSanitizer finds; memory of a GPU is the heap's, so AddressSanitizer finds what lies
// outside. Threads of a kernel run one after another, from barrier to barrier: one that stopped
// there begins anew once all have come, and goes on behind it. So a kernel writes each place of its
// shared memory once, and adds to the GPU's memory behind its last barrier, or by an atomic
// function. Calls check what the driver checks: the current device, what may not be called during a
// capture, a capture's joins. A graph's launch has a thread for each of its streams, so a missing
// edge is such a race, too. Only what this project calls is here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __shared__ static thread_local
#define __launch_bounds__(...)
// Ends the thread, which is begun again.
#define __syncthreads()                     \
  do {                                      \
    if (simulated::barriers.stop()) return; \
  } while (false)
#define CUDART_VERSION 13000

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorStubLibrary = 34,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorPeerAccessUnsupported = 217,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorPeerAccessAlreadyEnabled = 704,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorStreamCaptureIsolation = 905,
};

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  constexpr dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1)
      : x(width), y(height), z(depth) {}
  unsigned x, y, z;
};
// constinit: kernels read them without asking whether they are initialised.
inline constinit thread_local uint3 blockIdx, threadIdx;
inline constinit thread_local dim3 blockDim, gridDim;

namespace simulated {
struct Stream;
struct Event;
struct Graph;
struct Executable;

// How many GPUs there are, and the memory of each; for tests of what goes wrong. The first count is
// in the environment variable SIMULATED_CUDA_DEVICES, or 2.
void set_device_count(int count);
void set_memory_bytes(std::size_t bytes);
// The compute capability of the GPUs, and whether the build's kernels have code for it.
void set_compute_capability(int major, int minor, bool has_code = true);
bool has_code();
// The next call of that name fails, if it is cudaEventQuery or cudaGraphUpload.
void fail_next(const char* call);
// Whether a GPU may be given access to the memory of another one. At first each may.
void set_peers_possible(bool possible);
// Copies between two GPUs of which one has no access to the other's memory: the driver makes them
// through the host's.
long staged_copies();
// Pieces of GPU memory that were ever allocated, and streams that were ever made.
long device_allocations();
long streams_created();
// Graphs that were instantiated and not destroyed.
int executable_graphs();
// Runs `task` as the next work of `stream`, or captures it.
cudaError_t enqueue(Stream* stream, std::function<void()> task);

// Of the block that runs: how many barriers a thread passes before it stops, and whether one has.
struct Barriers {
  unsigned open = 0, passed = 0;
  bool stopped = false;

  bool stop() {
    if (passed++ < open) return false;
    return stopped = true;
  }
};
inline constinit thread_local Barriers barriers;

// What atomic functions gave to the block's threads: by thread, and how often it had passed a
// barrier.
inline thread_local std::map<std::pair<unsigned, unsigned>, unsigned> atomics;

// Runs the threads of a block of `threads` until none stops at a barrier.
template <typename Kernel>
void run_block(unsigned threads, const Kernel& kernel) {
  barriers = {};
  atomics.clear();
  do {
    barriers.stopped = false;
    for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) {
      barriers.passed = 0;
      kernel();
    }
    ++barriers.open;
  } while (barriers.stopped);
}
// The number of the capture that the stream is in; 0: none.
long capture_of(const Stream* stream);
}  // namespace simulated

// By one thread between two barriers at most once, so that one that begins anew does not add anew.
inline unsigned atomicAdd(unsigned* to, unsigned value) {
  const auto [given, is_new] =
      simulated::atomics.try_emplace({threadIdx.x, simulated::barriers.passed}, *to);
  if (is_new) *to += value;
  return given->second;
}
inline void __threadfence() {}

using cudaStream_t = simulated::Stream*;
using cudaEvent_t = simulated::Event*;
using cudaGraph_t = simulated::Graph*;
using cudaGraphExec_t = simulated::Executable*;

const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
};
struct cudaFuncAttributes {
  int numRegs;
};
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int other);
cudaError_t cudaDeviceEnablePeerAccess(int other, unsigned flags);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
template <typename Function>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, Function*) {
  return simulated::has_code() ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}

inline constexpr unsigned cudaHostAllocPortable = 1, cudaHostAllocMapped = 2;
enum cudaMemcpyKind { cudaMemcpyDefault = 4 };
cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device,
                                std::size_t bytes, cudaStream_t stream);

inline constexpr unsigned cudaStreamNonBlocking = 1;
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);

inline constexpr unsigned cudaEventDefault = 0, cudaEventDisableTiming = 2;
inline constexpr unsigned cudaEventRecordDefault = 0, cudaEventRecordExternal = 1;
inline constexpr unsigned cudaEventWaitDefault = 0;
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags);
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);

enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
  const std::tuple<Parameters...> copies(arguments...);
  return simulated::enqueue(config->stream,
                            [grid = config->gridDim, block = config->blockDim, kernel, copies] {
                              gridDim = grid;
                              blockDim = block;
                              for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
                                simulated::run_block(block.x, [&] { std::apply(kernel, copies); });
                              }
                            });
}
