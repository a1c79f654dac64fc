// What the kernels share: launching on a context, 16-byte accesses, the choice of the element type.
// Threads take items in a grid-stride loop; those of a kernel with shared memory, a block's part of
// the work.
#pragma once

#include <algorithm>
#include <bit>
#include <type_traits>

#include "core/bfloat16.h"
#include "core/cuda/runtime.h"

namespace stagecoach::cuda {

inline constexpr int kThreads = 256;  // of a block

// The first item of this thread, and how many further the next one is.
__device__ inline std::int64_t first_item() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t item_stride() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

// `kSize` elements that are read and written by one access: of 16 bytes where kSize is kPack<T>.
template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};
template <typename T>
inline constexpr int kPack = 16 / static_cast<int>(sizeof(T));
inline constexpr int kFloats = kPack<float>;

template <typename T, int kSize>
__device__ inline Pack<T, kSize> load(const T* from) {
  return *reinterpret_cast<const Pack<T, kSize>*>(from);
}
template <typename T, int kSize>
__device__ inline void store(T* to, const Pack<T, kSize>& pack) {
  *reinterpret_cast<Pack<T, kSize>*>(to) = pack;
}

// The same where only `count` elements are left, or the address is not aligned (`packed` false):
// those that there are, one by one.
template <typename T, int kSize>
__device__ inline Pack<T, kSize> load(const T* from, std::int64_t count, bool packed) {
  if (packed && count >= kSize) return load<T, kSize>(from);
  Pack<T, kSize> pack = {};
  for (int k = 0; k < kSize; ++k) {
    if (k < count) pack.values[k] = from[k];
  }
  return pack;
}
template <typename T, int kSize>
__device__ inline void store(T* to, const Pack<T, kSize>& pack, std::int64_t count, bool packed) {
  if (packed && count >= kSize) return store(to, pack);
  for (int k = 0; k < kSize; ++k) {
    if (k < count) to[k] = pack.values[k];
  }
}

// Two floats as bf16, the first one in the lower half: to nearest even, and NaN stays NaN.
__device__ inline std::uint32_t rounded_pair(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return std::uint32_t{BFloat16(high).bits} << 16 | BFloat16(low).bits;
#endif
}
// Floats as elements of T.
template <typename T, int kSize>
__device__ inline Pack<T, kSize> rounded(const float (&values)[kSize]) {
  if constexpr (std::is_same_v<T, BFloat16> && kSize % 2 == 0) {
    Pack<std::uint32_t, kSize / 2> pairs;
    for (int k = 0; k < kSize; k += 2) pairs.values[k / 2] = rounded_pair(values[k], values[k + 1]);
    return std::bit_cast<Pack<T, kSize>>(pairs);
  } else {
    Pack<T, kSize> pack;
    for (int k = 0; k < kSize; ++k) pack.values[k] = T(values[k]);
    return pack;
  }
}

// sums[k] += pack[k]
template <typename T, int kSize>
__device__ inline void add(float (&sums)[kSize], const Pack<T, kSize>& pack) {
  for (int k = 0; k < kSize; ++k) sums[k] += static_cast<float>(pack.values[k]);
}

// Sums of a pack's channels, to an address that is aligned to 16 bytes where kSize is above 1.
template <int kSize>
__device__ inline void store_sums(float* to, const float (&sums)[kSize]) {
  constexpr int kStep = std::min(kSize, kPack<float>);
  for (int k = 0; k < kSize; k += kStep) {
    Pack<float, kStep> pack;
    for (int j = 0; j < kStep; ++j) pack.values[j] = sums[k + j];
    store(to + k, pack);
  }
}

// Whether packs of 16 bytes can begin at these addresses.
template <typename... Pointers>
bool aligned(const Pointers*... pointers) {
  return (... && (reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0));
}
// Whether rows of `columns` elements of T at these addresses can be read in packs of 16 bytes.
template <typename T, typename... Pointers>
bool packable(std::int64_t columns, const Pointers*... pointers) {
  return columns % kPack<T> == 0 && aligned(pointers...);
}

// Groups of `size` items that hold `items`; the last may be short.
constexpr std::int64_t groups_of(std::int64_t items, std::int64_t size) {
  return (items + size - 1) / size;
}

// Calls body(T{}) for the element type of an activation.
template <typename Body>
void with_element_type(DType dtype, const Body& body) {
  if (dtype == DType::kBF16) {
    body(BFloat16{});
  } else {
    body(float{});
  }
}

// Enqueues `kernel` with so many blocks of kThreads.
template <typename... Parameters, typename... Arguments>
void launch_blocks(Context& context, std::int64_t blocks, void (*kernel)(Parameters...),
                   Arguments... arguments) {
  if (blocks == 0) return;
  use(context.device());
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(kThreads);
  config.stream = native_stream(context);
  STAGECOACH_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
}

// Enqueues `kernel` with one thread for each of `items`, or so many that each takes several.
template <typename... Parameters, typename... Arguments>
void launch(Context& context, std::int64_t items, void (*kernel)(Parameters...),
            Arguments... arguments) {
  constexpr std::int64_t kMostBlocks = std::int64_t{1} << 20;
  launch_blocks(context, std::min(groups_of(items, kThreads), kMostBlocks), kernel, arguments...);
}

}  // namespace stagecoach::cuda
