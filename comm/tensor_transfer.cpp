#include "comm/tensor_transfer.h"

#include "comm/message.h"
#include "core/copy.h"

namespace stagecoach {

void send_tensor(World& world, int to, int tag, const Tensor& tensor, Stream& stream) {
  if (tensor.device == Device{}) {
    stream.synchronize();
    return world.send(to, tag, byte_span(tensor)).wait();
  }
  const OwnedTensor host = to_host(stream, tensor);
  world.send(to, tag, byte_span(host.tensor)).wait();
}

void receive_tensor(World& world, int from, int tag, const Tensor& tensor, Stream& stream) {
  if (tensor.device == Device{}) return world.receive(from, tag, byte_span(tensor)).wait();
  const OwnedTensor host(tensor.spec);
  world.receive(from, tag, byte_span(host.tensor)).wait();
  copy(stream, tensor, host.tensor);
  stream.synchronize();
}

}  // namespace stagecoach
