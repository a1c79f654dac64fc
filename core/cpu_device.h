// The CPU as a device: streams with a thread of their own, anonymous pages.
#pragma once

#include "core/device_backend.h"

namespace stagecoach {

class CpuDevice final : public DeviceBackend {
 public:
  int device_count(std::string* why_none = nullptr) const override;
  std::int64_t available_bytes(Device device) const override;
  std::unique_ptr<Stream> create_stream(Device device) const override;
  void* allocate(std::int64_t bytes, Device device) const override;
  void deallocate(void* memory, std::int64_t bytes, Device device) const noexcept override;
  void copy(Stream& stream, const Tensor& to, const Tensor& from) const override;
  Lack lack() const override;
};

extern const CpuDevice kCpuDevice;

}  // namespace stagecoach
