// core without CUDA: no GPU is found, and nothing can be made on one.
#include "core/device_backend.h"

namespace stagecoach::cuda {
namespace {

class Absent final : public DeviceBackend {
  Lack lack() const override {
    return {"a build with CUDA (the preset cuda)", "this build has no CUDA", "use --device cpu"};
  }
};

const Absent kAbsent;
[[maybe_unused]] const bool kRegistered = register_device_backend(DeviceType::kCuda, kAbsent);

}  // namespace
}  // namespace stagecoach::cuda
