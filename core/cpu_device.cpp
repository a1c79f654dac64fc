#include "core/cpu_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/buffer.h"
#include "core/cpu_stream.h"
#include "core/error.h"
#include "core/system_memory.h"

namespace stagecoach {
namespace {

// Anonymous pages are zero, aligned, and become resident only when first written. One extra page
// gives an empty buffer an address.
std::size_t mapped_bytes(std::int64_t bytes) {
  return static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1));
}

}  // namespace

constinit const CpuDevice kCpuDevice;

int CpuDevice::device_count(std::string*) const {
  return 1;
}

std::int64_t CpuDevice::available_bytes(Device) const {
  return available_memory_bytes();
}

std::unique_ptr<Stream> CpuDevice::create_stream(Device) const {
  return create_cpu_stream();
}

void* CpuDevice::allocate(std::int64_t bytes, Device) const {
  void* memory = ::mmap(nullptr, mapped_bytes(bytes), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  STAGECOACH_CHECK(memory != MAP_FAILED, "Buffer", fmt::format("{} bytes of memory", bytes),
                   "none: the system refused them",
                   "use fewer or smaller micro-batches, or more stages");
  if (bytes >= (std::int64_t{4} << 20)) {
    ::madvise(memory, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);  // only a hint
  }
  return memory;
}

void CpuDevice::deallocate(void* memory, std::int64_t bytes, Device) const noexcept {
  ::munmap(memory, mapped_bytes(bytes));
}

void CpuDevice::copy(Stream& stream, const Tensor& to, const Tensor& from) const {
  STAGECOACH_CHECK(to.device == Device{} && from.device == Device{}, "copy",
                   "a stream of the GPU that is copied from or to", "a stream of the CPU");
  stream.enqueue(
      [to, from] { std::memmove(to.data, from.data, static_cast<std::size_t>(from.bytes())); });
}

Lack CpuDevice::lack() const {
  return {"a device other than the CPU", "the CPU", ""};
}

}  // namespace stagecoach
