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

OwnedTensor to_host(Stream& stream, const Tensor& tensor) {
  OwnedTensor result(tensor.spec);
  copy(stream, result.tensor, tensor);
  stream.synchronize();
  return result;
}

}  // namespace stagecoach
