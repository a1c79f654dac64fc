// GPUs of NVIDIA as devices, by the CUDA runtime library. Including this needs no header of CUDA.
#pragma once

#include "core/device_backend.h"

namespace stagecoach::cuda {

class CudaDevice final : public DeviceBackend {
 public:
  int device_count(std::string* why_none = nullptr) const override;
  DeviceInfo device_info(Device device) const override;
  std::string runtime_versions() const override;
  std::unique_ptr<Stream> create_stream(Device device) const override;
  void read_clock(Device device) const override;
  void* allocate(std::int64_t bytes, Device device) const override;
  void deallocate(void* memory, std::int64_t bytes, Device device) const noexcept override;
  void* allocate_pinned(std::int64_t bytes, Device device) const override;
  void deallocate_pinned(void* memory) const noexcept override;
  void copy(Stream& stream, const Tensor& to, const Tensor& from) const override;
  bool can_reach(Device device, Device other) const override;
  bool enable_reach(Device device, Device other) const override;
  bool can_capture() const override { return true; }
  std::unique_ptr<Graph> capture(std::span<Stream* const> streams,
                                 const std::function<void()>& enqueue) const override;
};

}  // namespace stagecoach::cuda
