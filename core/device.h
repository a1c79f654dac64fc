// Device: where a tensor's memory lives and where its operations run.
#pragma once

#include <cstddef>
#include <string>

namespace stagecoach {

enum class DeviceType { kCpu, kCuda };
inline constexpr std::size_t kDeviceTypes = 8;  // room for kinds that programs add

constexpr const char* name_of(DeviceType type) {
  switch (type) {
    case DeviceType::kCpu:
      return "cpu";
    case DeviceType::kCuda:
      return "cuda";
  }
  return "device";
}

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  bool operator==(const Device&) const = default;
  std::string to_string() const {
    const std::string kind = name_of(type);
    return type == DeviceType::kCpu ? kind : kind + ":" + std::to_string(index);
  }
};

}  // namespace stagecoach
