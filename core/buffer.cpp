#include "core/buffer.h"

#include <utility>

#include "core/device_backend.h"
#include "core/error.h"

namespace stagecoach {

Buffer::Buffer(std::int64_t bytes, Device device) : bytes_(bytes), device_(device) {
  STAGECOACH_CHECK(bytes >= 0, "Buffer", "bytes >= 0", fmt::format("{}", bytes));
  data_ = device_backend(device).allocate(bytes, device);
}

Buffer Buffer::pinned(std::int64_t bytes, Device device) {
  STAGECOACH_CHECK(bytes >= 0, "Buffer::pinned", "bytes >= 0", fmt::format("{}", bytes));
  Buffer buffer;
  buffer.pinned_for_ = &device_backend(device);
  buffer.data_ = buffer.pinned_for_->allocate_pinned(bytes, device);
  buffer.bytes_ = bytes;
  return buffer;
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (pinned_for_ != nullptr) {
    pinned_for_->deallocate_pinned(data_);
  } else {
    device_backend(device_).deallocate(data_, bytes_, device_);
  }
}

Buffer::Buffer(Buffer&& other) noexcept {
  *this = std::move(other);
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  std::swap(pinned_for_, other.pinned_for_);
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
