#include "core/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace stagecoach {

Buffer::Buffer(std::int64_t bytes, Device device) : bytes_(bytes), device_(device) {
  STAGECOACH_CHECK(device.type == DeviceType::kCpu, "Buffer", "device cpu", device.to_string(),
                   "this build has no CUDA backend");
  STAGECOACH_CHECK(bytes >= 0, "Buffer", "bytes >= 0", fmt::format("{}", bytes));
  // Anonymous pages are zero, aligned, and become resident only when first written. One extra
  // page gives an empty buffer an address.
  void* memory = ::mmap(nullptr, static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1)),
                        PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  STAGECOACH_CHECK(memory != MAP_FAILED, "Buffer", fmt::format("{} bytes of memory", bytes),
                   "none: the system refused them",
                   "use fewer or smaller micro-batches, or more stages");
  if (bytes >= (std::int64_t{4} << 20)) {
    ::madvise(memory, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);  // only a hint
  }
  data_ = memory;
}

Buffer::~Buffer() {
  if (data_ != nullptr) {
    ::munmap(data_, static_cast<std::size_t>(std::max<std::int64_t>(bytes_, 1)));
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      device_(other.device_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  return *this;
}

Tensor Buffer::view(const TensorSpec& spec, std::int64_t offset) const {
  STAGECOACH_CHECK(offset >= 0 && offset + spec.bytes() <= bytes_, "Buffer::view",
                   fmt::format("offset + size <= {} bytes", bytes_),
                   fmt::format("{} + {}", offset, spec.bytes()));
  return {static_cast<char*>(data_) + offset, spec, device_};
}

}  // namespace stagecoach
