// Channel: one direction between two neighbouring stages, for one kind of message (activations
// going down the pipeline or gradients coming up). A message is the list of the tensors that are
// alive at the cut; messages are numbered by micro-batch.
//
// Order of calls for one micro-batch m:
//   producer: wait_released(m - buffers) ... writes the tensors ... send(m) ...
//   consumer: expect(m) ... await(m), receive(m) ... reads them ... release(m)
// The n-th message that is sent is the n-th that is expected.
// All calls return at once; waiting happens on the stream that is passed in. A transport may hand
// the producer's memory to the consumer (no copy): that is why the consumer says when it is done.
#pragma once

#include <cstdint>
#include <exception>
#include <span>
#include <vector>

#include "core/stream.h"
#include "core/tensor.h"

namespace stagecoach {

class Channel {
 public:
  virtual ~Channel() = default;

  // True when messages are copied into memory of the consumer's, which its plan must then hold.
  virtual bool needs_receive_buffer() const = 0;

  // The tensors are final once `stream` has reached this point.
  virtual void send(std::int64_t micro, std::span<const Tensor> message, Stream& stream) = 0;
  // Posts the receive of message `micro`, with the memory that it is copied to: a tensor for each
  // of the message, free until release(); none where needs_receive_buffer() is false. Does not
  // wait. Error for a message that is expected already.
  virtual void expect(std::int64_t micro, std::span<const Tensor> buffers) = 0;
  // `stream` goes on when message `micro` has arrived. Blocks the calling thread until its sender
  // has called send(); throws the error of abort(), and Error when the message was not expected, or
  // another one was sent in its place.
  virtual void await(std::int64_t micro, Stream& stream) = 0;
  // The message, after await(): the sender's tensors, or the posted buffers.
  virtual std::vector<Tensor> receive(std::int64_t micro, Stream& stream) = 0;
  // The consumer reads message `micro` no more once `stream` has reached this point.
  virtual void release(std::int64_t micro, Stream& stream) = 0;
  // `stream` goes on when message `micro` has been released. Blocks like await().
  virtual void wait_released(std::int64_t micro, Stream& stream) = 0;

  // Wakes everybody who blocks in a call, now and later, with `error`; the first error wins.
  virtual void abort(std::exception_ptr error) = 0;
  // Forgets all messages and the error: between two steps, when no stream is running.
  virtual void reset() = 0;
  // After a step: Error unless everything that was sent was expected, and the other way round.
  virtual void check_complete() const = 0;
};

}  // namespace stagecoach
