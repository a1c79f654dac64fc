// Buffer: owning, aligned, zero-filled memory on one device.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace stagecoach {

class DeviceBackend;

class Buffer {
 public:
  // Memory starts at a multiple of this many bytes, and so does every tensor of an arena.
  static constexpr std::int64_t kAlignment = 256;

  Buffer() = default;
  // `bytes` >= 0 of zeros on `device`. Throws Error (with the number of bytes) when there is no
  // memory for it, or when this build has no backend for the device.
  explicit Buffer(std::int64_t bytes, Device device = {});
  // The same on the host, in pages that stay where they are: all devices of the kind of `device`
  // reach them, and copies from and to those do not block the thread that enqueues them.
  static Buffer pinned(std::int64_t bytes, Device device);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }

  // A view of `spec.bytes()` bytes at `offset`; throws Error when it does not fit.
  Tensor view(const TensorSpec& spec, std::int64_t offset = 0) const;

 private:
  void* data_ = nullptr;
  std::int64_t bytes_ = 0;
  Device device_;
  const DeviceBackend* pinned_for_ = nullptr;  // none: not pinned
};

// A buffer of exactly one tensor: for tests, tools and data that no plan holds.
struct OwnedTensor {
  explicit OwnedTensor(const TensorSpec& spec, Device device = {})
      : buffer(spec.bytes(), device), tensor(buffer.view(spec)) {}
  Buffer buffer;
  Tensor tensor;
};

}  // namespace stagecoach
