#include "comm/copying_channel.h"

#include "comm/local_channel.h"
#include "core/copy.h"

namespace stagecoach {
namespace {

// The bookkeeping is that of the channel that hands memory over; only what arrives is copied.
class CopyingChannel : public Channel {
 public:
  explicit CopyingChannel(std::shared_ptr<Rendezvous> ranks)
      : local_(make_local_channel(std::move(ranks))) {}

  bool needs_receive_buffer() const override { return true; }
  void send(std::int64_t micro, const Tensor& tensor, Stream& stream) override {
    local_->send(micro, tensor, stream);
  }
  void expect(std::int64_t micro) override { local_->expect(micro); }
  void await(std::int64_t micro, Stream& stream) override { local_->await(micro, stream); }
  Tensor receive(std::int64_t micro, const Tensor& buffer, Stream& stream) override {
    copy(stream, buffer, local_->receive(micro, {}, stream));
    return buffer;
  }
  void release(std::int64_t micro, Stream& stream) override { local_->release(micro, stream); }
  void wait_released(std::int64_t micro, Stream& stream) override {
    local_->wait_released(micro, stream);
  }
  void abort(std::exception_ptr error) override { local_->abort(std::move(error)); }
  void reset() override { local_->reset(); }
  void check_complete() const override { local_->check_complete(); }

 private:
  std::unique_ptr<Channel> local_;
};

}  // namespace

std::unique_ptr<Channel> make_copying_channel(std::shared_ptr<Rendezvous> ranks) {
  return std::make_unique<CopyingChannel>(std::move(ranks));
}

}  // namespace stagecoach
