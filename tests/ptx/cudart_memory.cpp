// libcudart's calls about memory, and what the simulated libraries ask for.
#include <cuda_runtime_api.h>

#include <cstring>

#include "tests/ptx/devices.h"
#include "tests/ptx/faults.h"
#include "tests/ptx/graphs.h"
#include "tests/ptx/memory.h"
#include "tests/ptx/races.h"
#include "tests/ptx/streams.h"
#include "tests/simulated_cuda/tasks.h"

namespace ptx {
namespace {

cudaError_t make(void** memory, std::size_t bytes, int device) {
  if (refuse_in_capture()) return cudaErrorStreamCaptureUnsupported;
  if (fault_status() != cudaSuccess) return fault_status();
  touch(current_device());
  *memory = allocate(bytes, device);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

// Waits for what may still use it, as the driver does.
cudaError_t free(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  if (refuse_in_capture()) return cudaErrorStreamCaptureUnsupported;
  for (int device = 0; device < device_count(); ++device) drain(device);
  return release(memory) ? fault_status() : cudaErrorInvalidValue;
}

// What a copy or a library, as work of `device`, finds at an address; the host's own memory as it
// is.
std::byte* find(const char* who, const void* address, std::size_t bytes, Access access,
                int device) {
  auto* pointer = static_cast<std::byte*>(const_cast<void*>(address));
  if (!is_known(address) || bytes == 0) return pointer;
  const auto number = reinterpret_cast<std::uint64_t>(address);
  const Who words = [&] { return std::string(who); };
  const Allocation found = reach(words, number, bytes, 1, access, device);
  const std::size_t offset = number - found.address;
  if (is_checking_races()) {
    touch(*touches_of(found), found, offset, bytes, access, working_moment(), words);
  }
  return found.data + offset;
}

void copy(void* to, int to_device, const void* from, int from_device, std::size_t bytes) {
  const std::byte* source = find("a copy", from, bytes, Access::kLoad, from_device);
  std::memcpy(find("a copy", to, bytes, Access::kStore, to_device), source, bytes);
}

}  // namespace
}  // namespace ptx

extern "C" {

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return ptx::make(memory, bytes, ptx::current_device());
}
cudaError_t cudaFree(void* memory) {
  return ptx::free(memory);
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return ptx::make(memory, bytes, ptx::kPinned);
}
cudaError_t cudaFreeHost(void* memory) {
  return ptx::free(memory);
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  ptx::delay_launch();
  return ptx::enqueue(stream, "a memset", [=] {
    std::memset(ptx::find("a memset", memory, bytes, ptx::Access::kStore, ptx::working_device()),
                value, bytes);
  });
}
// Of the host's own memory only when all before it is done, and not in a graph.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  ptx::delay_launch();
  const bool blocks = !ptx::is_known(to) || !ptx::is_known(from);
  if (blocks && ptx::refuse_in_capture()) return cudaErrorStreamCaptureUnsupported;
  const cudaError_t status = ptx::enqueue(stream, "a copy", [=] {
    ptx::copy(to, ptx::working_device(), from, ptx::working_device(), bytes);
  });
  if (status != cudaSuccess || !blocks) return status;
  return cudaStreamSynchronize(stream);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device,
                                std::size_t bytes, cudaStream_t stream) {
  ptx::delay_launch();
  ptx::touch(to_device);
  ptx::touch(from_device);
  ptx::note_copy(to_device, from_device);
  return ptx::enqueue(stream, "a copy",
                      [=] { ptx::copy(to, to_device, from, from_device, bytes); });
}

}  // extern "C"

namespace simulated {

cudaError_t enqueue(cudaStream_t stream, std::function<void()> task) {
  ptx::delay_launch();
  return ptx::enqueue(stream, "a library", std::move(task));
}
const void* readable(const void* address, std::int64_t bytes) {
  return ptx::find("a library", address, static_cast<std::size_t>(bytes), ptx::Access::kLoad,
                   ptx::working_device());
}
void* writable(void* address, std::int64_t bytes) {
  return ptx::find("a library", address, static_cast<std::size_t>(bytes), ptx::Access::kStore,
                   ptx::working_device());
}

}  // namespace simulated
