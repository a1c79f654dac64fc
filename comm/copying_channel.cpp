#include "comm/copying_channel.h"

#include <utility>

#include "comm/local_channel.h"
#include "core/copy.h"
#include "core/error.h"

namespace stagecoach {
namespace {

// The bookkeeping is that of the channel that hands memory over; only what arrives is copied.
class CopyingChannel : public Channel {
 public:
  explicit CopyingChannel(std::shared_ptr<Rendezvous> ranks)
      : local_(make_local_channel(std::move(ranks))) {}

  bool needs_receive_buffer() const override { return true; }
  void send(std::int64_t micro, std::span<const Tensor> message, Stream& stream) override {
    local_->send(micro, message, stream);
  }
  void expect(std::int64_t micro, std::span<const Tensor> buffers) override {
    const auto m = static_cast<std::size_t>(micro);
    if (buffers_.size() <= m) buffers_.resize(m + 1);
    buffers_[m].assign(buffers.begin(), buffers.end());
    local_->expect(micro, buffers);
  }
  void await(std::int64_t micro, Stream& stream) override { local_->await(micro, stream); }
  std::vector<Tensor> receive(std::int64_t micro, Stream& stream) override {
    const std::vector<Tensor> sent = local_->receive(micro, stream);
    const std::vector<Tensor>& buffers = buffers_.at(static_cast<std::size_t>(micro));
    STAGECOACH_CHECK(sent.size() == buffers.size(), "a receive",
                     fmt::format("{} buffers for micro-batch {}", sent.size(), micro),
                     std::to_string(buffers.size()));
    for (std::size_t i = 0; i < sent.size(); ++i) copy(stream, buffers[i], sent[i]);
    return buffers;
  }
  void release(std::int64_t micro, Stream& stream) override { local_->release(micro, stream); }
  void wait_released(std::int64_t micro, Stream& stream) override {
    local_->wait_released(micro, stream);
  }
  void abort(std::exception_ptr error) override { local_->abort(std::move(error)); }
  void reset() override {
    buffers_.clear();
    local_->reset();
  }
  void check_complete() const override { local_->check_complete(); }

 private:
  std::unique_ptr<Channel> local_;
  std::vector<std::vector<Tensor>> buffers_;  // posted, by micro-batch; the consumer's alone
};

}  // namespace

std::unique_ptr<Channel> make_copying_channel(std::shared_ptr<Rendezvous> ranks) {
  return std::make_unique<CopyingChannel>(std::move(ranks));
}

}  // namespace stagecoach
