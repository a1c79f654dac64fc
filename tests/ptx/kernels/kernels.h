// Kernels of these tests, each with what starts it on a stream of the current GPU; the status is
// the launch's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace ptx::testing {

// to[i] = value, by thread i % threads of block i / threads.
cudaError_t store(cudaStream_t stream, float* to, std::int64_t begin, std::int64_t count,
                  float value, unsigned threads = 32);
// to[i] = from[i] for `count` packs of 4.
cudaError_t copy_packs(cudaStream_t stream, float* to, const float* from, unsigned count);
// to[b] = the sum of from[256 b ...]: by shuffles in each warp, then through shared memory.
cudaError_t sum_blocks(cudaStream_t stream, float* to, const float* from, unsigned blocks);
// to[256 b + i] = from[256 b + 255 - i], through `shared_bytes` of shared memory, which should be
// 1024.
cudaError_t reverse_blocks(cudaStream_t stream, float* to, const float* from, unsigned blocks,
                           unsigned shared_bytes = 1024);
// What the four shuffles give each lane of a warp that holds 100 + lane: 32 of each, by lane 5, 3
// down, 2 up and across 1 of segments of 8 lanes.
cudaError_t shuffle_all(cudaStream_t stream, unsigned* to);
// A barrier to which the thread 7 does not come, as it waits at another one.
cudaError_t wait_apart(cudaStream_t stream, unsigned* to);
// to[0] = shared memory that nobody wrote.
cudaError_t read_shared(cudaStream_t stream, float* to);
// to[thread] = a local array at a place that is known at run time: its element `index` is 10 index
// + thread.
cudaError_t read_local(cudaStream_t stream, int* to, int index, unsigned threads);

}  // namespace ptx::testing
