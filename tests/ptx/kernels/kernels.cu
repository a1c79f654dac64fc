#include "tests/ptx/kernels/kernels.h"

#include <cuda_runtime.h>

namespace ptx::testing {
namespace {

constexpr unsigned kThreads = 256;

template <typename... Parameters, typename... Arguments>
cudaError_t launch(cudaStream_t stream, unsigned blocks, unsigned threads, unsigned shared_bytes,
                   void (*kernel)(Parameters...), Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

__global__ void store_kernel(float* to, std::int64_t count, float value) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) to[i] = value;
}

__global__ void copy_packs_kernel(float4* to, const float4* from) {
  to[threadIdx.x] = from[threadIdx.x];
}

__global__ void __launch_bounds__(kThreads) sum_blocks_kernel(float* to, const float* from) {
  __shared__ float sums[kThreads / 32];
  float sum = from[blockIdx.x * kThreads + threadIdx.x];
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_down_sync(0xFFFFFFFF, sum, lanes);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  sum = threadIdx.x < kThreads / 32 ? sums[threadIdx.x] : 0.0f;
  for (int lanes = 4; lanes > 0; lanes /= 2) sum += __shfl_down_sync(0xFFFFFFFF, sum, lanes);
  if (threadIdx.x == 0) to[blockIdx.x] = sum;
}

extern __shared__ float row[];
__global__ void __launch_bounds__(kThreads) reverse_blocks_kernel(float* to, const float* from) {
  row[threadIdx.x] = from[blockIdx.x * kThreads + threadIdx.x];
  __syncthreads();
  to[blockIdx.x * kThreads + threadIdx.x] = row[kThreads - 1 - threadIdx.x];
}

__global__ void shuffle_kernel(unsigned* to) {
  const unsigned lane = threadIdx.x, value = 100 + lane;
  to[lane] = __shfl_sync(0xFFFFFFFF, value, 5);
  to[32 + lane] = __shfl_down_sync(0xFFFFFFFF, value, 3);
  to[64 + lane] = __shfl_up_sync(0xFFFFFFFF, value, 2);
  to[96 + lane] = __shfl_xor_sync(0xFFFFFFFF, value, 1, 8);
}

__global__ void wait_apart_kernel(unsigned* to) {
  if (threadIdx.x == 7) {
    asm volatile("bar.sync 1;" ::: "memory");
  } else {
    asm volatile("bar.sync 2;" ::: "memory");
  }
  to[threadIdx.x] = threadIdx.x;
}

__global__ void read_shared_kernel(float* to) {
  __shared__ float values[4];
  if (to == nullptr) values[threadIdx.x] = 1.0f;
  __syncthreads();
  to[0] = values[to != nullptr ? 2 : 0];
}

__global__ void read_local_kernel(int* to, int index) {
  int values[16];
  for (int i = 0; i < 16; ++i)
    values[(i * 5 + index) % 16] = 10 * ((i * 5 + index) % 16) + threadIdx.x;
  to[threadIdx.x] = values[index];
}

}  // namespace

cudaError_t store(cudaStream_t stream, float* to, std::int64_t begin, std::int64_t count,
                  float value, unsigned threads) {
  const auto blocks = static_cast<unsigned>((count + threads - 1) / threads);
  return launch(stream, blocks, threads, 0, store_kernel, to + begin, count, value);
}
cudaError_t copy_packs(cudaStream_t stream, float* to, const float* from, unsigned count) {
  return launch(stream, 1, count, 0, copy_packs_kernel, reinterpret_cast<float4*>(to),
                reinterpret_cast<const float4*>(from));
}
cudaError_t sum_blocks(cudaStream_t stream, float* to, const float* from, unsigned blocks) {
  return launch(stream, blocks, kThreads, 0, sum_blocks_kernel, to, from);
}
cudaError_t reverse_blocks(cudaStream_t stream, float* to, const float* from, unsigned blocks,
                           unsigned shared_bytes) {
  return launch(stream, blocks, kThreads, shared_bytes, reverse_blocks_kernel, to, from);
}
cudaError_t shuffle_all(cudaStream_t stream, unsigned* to) {
  return launch(stream, 1, 32, 0, shuffle_kernel, to);
}
cudaError_t wait_apart(cudaStream_t stream, unsigned* to) {
  return launch(stream, 1, 64, 0, wait_apart_kernel, to);
}
cudaError_t read_shared(cudaStream_t stream, float* to) {
  return launch(stream, 1, 4, 0, read_shared_kernel, to);
}
cudaError_t read_local(cudaStream_t stream, int* to, int index, unsigned threads) {
  return launch(stream, 1, threads, 0, read_local_kernel, to, index);
}

}  // namespace ptx::testing
