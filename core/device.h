// Device: where a tensor's memory lives and where its operations run.
#pragma once

#include <string>

namespace stagecoach {

enum class DeviceType { kCpu, kCuda };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  bool operator==(const Device&) const = default;
  std::string to_string() const {
    return type == DeviceType::kCpu ? "cpu" : "cuda:" + std::to_string(index);
  }
};

}  // namespace stagecoach
