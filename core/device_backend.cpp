#include "core/device_backend.h"

#include "core/cpu_device.h"
#include "core/error.h"

namespace stagecoach {
namespace {

constinit const DeviceBackend kMissing;

// Filled before and during static initialisation.
constinit const DeviceBackend* backends[kDeviceTypes] = {&kCpuDevice};

const DeviceBackend*& slot_of(DeviceType type) {
  const auto index = static_cast<std::size_t>(type);
  STAGECOACH_CHECK(index < kDeviceTypes, "device_backend", "a kind of device",
                   fmt::format("number {}", index));
  return backends[index];
}

}  // namespace

void DeviceBackend::refuse(const char* operation) const {
  const Lack why = lack();
  throw Error(operation, why.expected, why.got, why.hint);
}

Lack DeviceBackend::lack() const {
  return {"a program with a backend for the device", "none", "use --device cpu"};
}

int DeviceBackend::device_count(std::string* why_none) const {
  if (why_none != nullptr) *why_none = lack().got;
  return 0;
}

DeviceInfo DeviceBackend::device_info(Device device) const {
  refuse(device.to_string().c_str());
}

std::int64_t DeviceBackend::available_bytes(Device device) const {
  return device_info(device).free_memory_bytes;
}

std::unique_ptr<Stream> DeviceBackend::create_stream(Device) const {
  refuse("Stream");
}

void* DeviceBackend::allocate(std::int64_t, Device) const {
  refuse("Buffer");
}

void* DeviceBackend::allocate_pinned(std::int64_t, Device) const {
  refuse("Buffer::pinned");
}

void DeviceBackend::copy(Stream&, const Tensor&, const Tensor&) const {
  refuse("copy");
}

std::unique_ptr<Graph> DeviceBackend::capture(std::span<Stream* const>,
                                              const std::function<void()>&) const {
  refuse("Graph");
}

const DeviceBackend& device_backend(DeviceType type) {
  const DeviceBackend* backend = slot_of(type);
  return backend != nullptr ? *backend : kMissing;
}

bool register_device_backend(DeviceType type, const DeviceBackend& backend) {
  slot_of(type) = &backend;
  return true;
}

}  // namespace stagecoach
