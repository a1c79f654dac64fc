#include "kernels/target.h"

#include "core/error.h"
#include "kernels/cuda/operations.h"

namespace stagecoach {

void check_target(const Target& target) {
  if (target.device.type == DeviceType::kCuda) return cuda::check_target(target);
  STAGECOACH_CHECK(target.precision == Precision::kFp32, "cpu", "precision fp32",
                   std::string(name_of(target.precision)));
}

}  // namespace stagecoach
