// What a kind of device must give core: streams, memory, copies, graphs. Nothing else in core, and
// no other floor, names a kind of device for these.
//
// A backend is an object that lives as long as the program and registers itself where it is linked,
// as core/cuda/runtime.cpp does. The CPU's is always there. What kernels need of a backend is in
// kernels/backend.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/graph.h"
#include "core/stream.h"
#include "core/tensor.h"

namespace stagecoach {

struct DeviceInfo {
  std::string name;          // "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;  // compute capability: 9, 0
  int multiprocessors = 0;
  std::int64_t memory_bytes = 0;       // in all
  std::int64_t free_memory_bytes = 0;  // now
};

// Why an operation cannot be had: the rest of an Error that begins with the operation's name.
struct Lack {
  std::string expected, got, hint;
};

// What is not overridden throws Error, named by the operation.
class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;

  // Devices that this process can use: indices [0, device_count()). 0 where there is none, with the
  // reason in `why_none`: not in this build, no driver, one that is too old, no device.
  virtual int device_count(std::string* why_none = nullptr) const;
  // Throws Error when there is no such device, with the reason.
  virtual DeviceInfo device_info(Device device) const;
  // "driver for CUDA 13.0, runtime 13.0"; empty where this program has no backend for the device.
  virtual std::string runtime_versions() const { return ""; }
  // Bytes of the device's memory that can be allocated.
  virtual std::int64_t available_bytes(Device device) const;

  virtual std::unique_ptr<Stream> create_stream(Device device) const;

  // Ties the device's clock to the host's anew, if that was a while ago. Times of events that are
  // asked for until the next call are by one reading. Not in a capture.
  virtual void read_clock(Device) const {}

  // Zero-filled memory of a device, aligned to Buffer::kAlignment, also of no bytes; and host
  // memory that all of its devices reach and copies do not stop for, made for `device`. Throw Error
  // when there is none.
  virtual void* allocate(std::int64_t bytes, Device device) const;
  virtual void deallocate(void*, std::int64_t /*bytes*/, Device) const noexcept {}
  virtual void* allocate_pinned(std::int64_t bytes, Device device) const;
  virtual void deallocate_pinned(void*) const noexcept {}

  // Enqueues a copy on `stream`, which belongs to one of its devices; from or to this device, the
  // host or another device of the kind.
  virtual void copy(Stream& stream, const Tensor& to, const Tensor& from) const;

  // Whether copies from the memory of `other`, of the kind too, to that of `device` can do without
  // the host's; and makes them so from now on, false where that cannot be.
  virtual bool can_reach(Device /*device*/, Device /*other*/) const { return false; }
  virtual bool enable_reach(Device /*device*/, Device /*other*/) const { return false; }

  // See Graph.
  virtual bool can_capture() const { return false; }
  virtual std::unique_ptr<Graph> capture(std::span<Stream* const> streams,
                                         const std::function<void()>& enqueue) const;

  virtual Lack lack() const;

 protected:
  [[noreturn]] void refuse(const char* operation) const;
};

// The backend of a kind of device; where none is registered, one that refuses everything.
const DeviceBackend& device_backend(DeviceType type);
inline const DeviceBackend& device_backend(Device device) {
  return device_backend(device.type);
}

// For static initialisation, or a test, before the first device of the kind is used. Returns true.
bool register_device_backend(DeviceType type, const DeviceBackend& backend);

}  // namespace stagecoach
