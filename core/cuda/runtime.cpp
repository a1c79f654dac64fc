#include "core/cuda/runtime.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "core/cuda/device.h"
#include "core/error.h"

namespace stagecoach::cuda {
namespace {

// Streams beyond the hardware's queues wait for each other. The driver makes eight, unless it is
// told before its first call; each rank, channel and loader has a stream.
[[maybe_unused]] const bool kQueues = ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0) == 0;

const CudaDevice kCudaDevice;
[[maybe_unused]] const bool kRegistered = register_device_backend(DeviceType::kCuda, kCudaDevice);

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

// Why there is no GPU, from what counting them returned.
std::string reason_of(cudaError_t status) {
  int driver = 0;
  const bool known = cudaDriverGetVersion(&driver) == cudaSuccess;
  switch (status) {
    case cudaSuccess:
    case cudaErrorNoDevice:
      return "the driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?)";
    case cudaErrorInsufficientDriver:
      if (known && driver > 0) {
        return fmt::format("the driver is for CUDA {}, too old for this build's {}",
                           version_text(driver), version_text(CUDART_VERSION));
      }
      return "no NVIDIA driver is installed";
    case cudaErrorStubLibrary:
      return "the driver library is the toolkit's stub, not the driver's";
    default:
      return fmt::format("{}: {}", cudaGetErrorName(status), cudaGetErrorString(status));
  }
}

}  // namespace

void check(cudaError_t status, const char* call, std::source_location place) {
  if (status == cudaSuccess) [[likely]] {
    return;
  }
  cudaGetLastError();  // an error that does not last must not be found by the next call
  throw Error(call, "success",
              fmt::format("{}: {}", cudaGetErrorName(status), cudaGetErrorString(status)), "",
              place);
}

void use(Device device) {
  int current = -1;  // other libraries of the process change it, too
  STAGECOACH_CUDA_CHECK(cudaGetDevice(&current));
  if (current != device.index) STAGECOACH_CUDA_CHECK(cudaSetDevice(device.index));
}

Stream& side_stream(Device device) {
  static std::mutex mutex;
  // Never destroyed: at the end of the process the driver is gone before.
  static auto& streams = *new std::map<int, std::unique_ptr<Stream>>();
  std::lock_guard lock(mutex);
  std::unique_ptr<Stream>& stream = streams[device.index];
  if (!stream) stream = kCudaDevice.create_stream(device);
  return *stream;
}

int CudaDevice::device_count(std::string* why_none) const {
  int count = 0;  // not written where counting fails
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();
    count = 0;
  }
  if (count == 0 && why_none != nullptr) *why_none = reason_of(status);
  return count;
}

void check_device(Device device) {
  std::string why;
  const int count = kCudaDevice.device_count(&why);
  STAGECOACH_CHECK(
      device.index >= 0 && device.index < count, device.to_string(),
      count == 0 ? std::string("a GPU") : fmt::format("a GPU from cuda:0 to cuda:{}", count - 1),
      count == 0 ? "none: " + why : "no such GPU", "or use --device cpu");
}

DeviceInfo CudaDevice::device_info(Device device) const {
  check_device(device);
  use(device);
  cudaDeviceProp properties;
  STAGECOACH_CUDA_CHECK(cudaGetDeviceProperties(&properties, device.index));
  std::size_t free = 0, total = 0;
  STAGECOACH_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return {properties.name,
          properties.major,
          properties.minor,
          properties.multiProcessorCount,
          static_cast<std::int64_t>(total),
          static_cast<std::int64_t>(free)};
}

std::string CudaDevice::runtime_versions() const {
  int driver = 0, runtime = 0;
  STAGECOACH_CUDA_CHECK(cudaDriverGetVersion(&driver));
  STAGECOACH_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  return fmt::format("{}, runtime {}",
                     driver == 0 ? "no driver" : "driver for CUDA " + version_text(driver),
                     version_text(runtime));
}

bool CudaDevice::can_reach(Device device, Device other) const {
  int can = 0;
  STAGECOACH_CUDA_CHECK(cudaDeviceCanAccessPeer(&can, device.index, other.index));
  return can != 0;
}

bool CudaDevice::enable_reach(Device device, Device other) const {
  check_device(device);
  check_device(other);
  if (!can_reach(device, other)) return false;
  use(device);
  const cudaError_t status = cudaDeviceEnablePeerAccess(other.index, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
    return true;
  }
  STAGECOACH_CUDA_CHECK(status);
  return true;
}

void* CudaDevice::allocate(std::int64_t bytes, Device device) const {
  check_device(device);
  use(device);
  void* memory = nullptr;
  const auto size = static_cast<std::size_t>(bytes > 0 ? bytes : 1);
  const cudaError_t status = cudaMalloc(&memory, size);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error("Buffer", fmt::format("{} bytes of memory on {}", bytes, device.to_string()),
                fmt::format("{} bytes that are free", device_info(device).free_memory_bytes),
                "use fewer or smaller micro-batches, or more stages on more GPUs");
  }
  STAGECOACH_CUDA_CHECK(status);
  try {
    Stream& stream = side_stream(device);  // nothing runs on the default stream
    use(device);
    STAGECOACH_CUDA_CHECK(cudaMemsetAsync(memory, 0, size, native_stream(stream)));
    stream.synchronize();
  } catch (...) {
    deallocate(memory, bytes, device);
    throw;
  }
  return memory;
}

// Errors are dropped where an owner ends: there is nobody left to tell, and the driver has told
// somebody before.
void CudaDevice::deallocate(void* memory, std::int64_t, Device device) const noexcept {
  try {
    use(device);
    cudaFree(memory);
  } catch (...) {
  }
  cudaGetLastError();
}

// Portable memory is every GPU's, but it is made by the current one, which gets a context for it.
void* CudaDevice::allocate_pinned(std::int64_t bytes, Device device) const {
  check_device(device);
  use(device);
  void* memory = nullptr;
  const auto size = static_cast<std::size_t>(bytes > 0 ? bytes : 1);
  STAGECOACH_CUDA_CHECK(cudaHostAlloc(&memory, size, cudaHostAllocPortable | cudaHostAllocMapped));
  std::fill_n(static_cast<char*>(memory), size, '\0');
  return memory;
}

void CudaDevice::deallocate_pinned(void* memory) const noexcept {
  cudaFreeHost(memory);
  cudaGetLastError();
}

}  // namespace stagecoach::cuda
