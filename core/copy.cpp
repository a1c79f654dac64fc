#include "core/copy.h"

#include <cstring>

#include "core/cuda/backend.h"
#include "core/error.h"

namespace stagecoach {

void copy(Stream& stream, const Tensor& to, const Tensor& from) {
  STAGECOACH_CHECK(to.defined() && from.defined() && to.bytes() == from.bytes(), "copy",
                   fmt::format("two tensors of {} bytes", from.bytes()),
                   fmt::format("{} into {}", from.defined() ? from.spec.to_string() : "no memory",
                               to.defined() ? to.spec.to_string() : "no memory"));
  if (stream.device().type == DeviceType::kCuda) {
    return cuda::copy(stream, to.data, to.device, from.data, from.device, from.bytes());
  }
  STAGECOACH_CHECK(to.device == Device{} && from.device == Device{}, "copy",
                   "a stream of the GPU that is copied from or to", "a stream of the CPU");
  stream.enqueue(
      [to, from] { std::memmove(to.data, from.data, static_cast<std::size_t>(from.bytes())); });
}

OwnedTensor to_host(Stream& stream, const Tensor& tensor) {
  OwnedTensor result(tensor.spec);
  copy(stream, result.tensor, tensor);
  stream.synchronize();
  return result;
}

}  // namespace stagecoach
