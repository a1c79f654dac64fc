#include "core/copy.h"

#include "core/device_backend.h"
#include "core/error.h"

namespace stagecoach {

void copy(Stream& stream, const Tensor& to, const Tensor& from) {
  STAGECOACH_CHECK(to.defined() && from.defined() && to.bytes() == from.bytes(), "copy",
                   fmt::format("two tensors of {} bytes", from.bytes()),
                   fmt::format("{} into {}", from.defined() ? from.spec.to_string() : "no memory",
                               to.defined() ? to.spec.to_string() : "no memory"));
  device_backend(stream.device()).copy(stream, to, from);
}

bool connect_devices(Device a, Device b) {
  if (a == b) return true;
  const DeviceBackend& backend = device_backend(a);
  const bool there = backend.enable_reach(a, b);
  return backend.enable_reach(b, a) && there;
}

OwnedTensor to_host(Stream& stream, const Tensor& tensor) {
  OwnedTensor result(tensor.spec);
  copy(stream, result.tensor, tensor);
  stream.synchronize();
  return result;
}

}  // namespace stagecoach
