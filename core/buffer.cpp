#include "core/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "core/cuda/backend.h"
#include "core/error.h"

namespace stagecoach {

namespace {

// Anonymous pages are zero, aligned, and become resident only when first written. One extra page
// gives an empty buffer an address.
std::size_t mapped_bytes(std::int64_t bytes) {
  return static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1));
}

void* map_memory(std::int64_t bytes) {
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

}  // namespace

Buffer::Buffer(std::int64_t bytes, Device device) : bytes_(bytes), device_(device) {
  STAGECOACH_CHECK(bytes >= 0, "Buffer", "bytes >= 0", fmt::format("{}", bytes));
  data_ = device.type == DeviceType::kCuda ? cuda::allocate(bytes, device) : map_memory(bytes);
}

Buffer Buffer::pinned(std::int64_t bytes) {
  STAGECOACH_CHECK(bytes >= 0, "Buffer::pinned", "bytes >= 0", fmt::format("{}", bytes));
  Buffer buffer;
  buffer.data_ = cuda::allocate_pinned(bytes);
  buffer.bytes_ = bytes;
  buffer.pinned_ = true;
  return buffer;
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (pinned_) {
    cuda::deallocate_pinned(data_);
  } else if (device_.type == DeviceType::kCuda) {
    cuda::deallocate(data_, device_);
  } else {
    ::munmap(data_, mapped_bytes(bytes_));
  }
}

Buffer::Buffer(Buffer&& other) noexcept {
  *this = std::move(other);
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  std::swap(pinned_, other.pinned_);
  return *this;
}

Tensor Buffer::view(const TensorSpec& spec, std::int64_t offset) const {
  // Not offset + size: it may overflow.
  STAGECOACH_CHECK(offset >= 0 && offset <= bytes_ && spec.bytes() <= bytes_ - offset,
                   "Buffer::view", fmt::format("offset + size <= {} bytes", bytes_),
                   fmt::format("{} + {}", offset, spec.bytes()));
  return {static_cast<char*>(data_) + offset, spec, device_};
}

}  // namespace stagecoach
