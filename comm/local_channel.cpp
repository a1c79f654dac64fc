#include "comm/local_channel.h"

#include <deque>
#include <iterator>
#include <utility>
#include <vector>

#include "core/error.h"

namespace stagecoach {
namespace {

class LocalChannel : public Channel {
 public:
  explicit LocalChannel(std::shared_ptr<Rendezvous> ranks) : ranks_(std::move(ranks)) {}

  bool needs_receive_buffer() const override { return false; }

  void send(std::int64_t micro, std::span<const Tensor> message, Stream& stream) override {
    Event ready;
    stream.record(ready);
    const auto lock = ranks_->lock();
    sent_.push_back(micro);
    Message& own = message_at(micro);
    own.tensors.assign(message.begin(), message.end());
    own.ready = ready;
    ranks_->notify();
  }

  void expect(std::int64_t micro, std::span<const Tensor>) override {
    const auto lock = ranks_->lock();
    Message& message = message_at(micro);
    STAGECOACH_CHECK(message.number < 0, "a receive", fmt::format("one of micro-batch {}", micro),
                     "a second one");
    message.number = expected_++;
  }

  void await(std::int64_t micro, Stream& stream) override {
    auto lock = ranks_->lock();
    if (error_) std::rethrow_exception(error_);
    const Message& message = message_at(micro);
    STAGECOACH_CHECK(message.number >= 0, "a receive",
                     fmt::format("one that was posted, of micro-batch {}", micro), "none");
    const auto number = static_cast<std::size_t>(message.number);
    ranks_->wait(lock, [&] { return sent_.size() > number || error_; });
    if (error_) std::rethrow_exception(error_);
    STAGECOACH_CHECK(sent_[number] == micro, "a receive",
                     fmt::format("micro-batch {} as message {}", micro, number),
                     fmt::format("micro-batch {}", sent_[number]));
    const Event ready = message.ready;
    lock.unlock();
    stream.wait(ready);
  }

  std::vector<Tensor> receive(std::int64_t micro, Stream&) override {
    const auto lock = ranks_->lock();
    return message_at(micro).tensors;
  }

  void release(std::int64_t micro, Stream& stream) override {
    Event read;
    stream.record(read);
    const auto lock = ranks_->lock();
    Message& message = message_at(micro);
    message.read = read;
    message.released = true;
    ranks_->notify();
  }

  void wait_released(std::int64_t micro, Stream& stream) override {
    auto lock = ranks_->lock();
    Message& message = message_at(micro);
    ranks_->wait(lock, [&] { return message.released || error_; });
    if (error_) std::rethrow_exception(error_);
    const Event read = message.read;
    lock.unlock();
    stream.wait(read);
  }

  void abort(std::exception_ptr error) override {
    const auto lock = ranks_->lock();
    if (!error_) error_ = std::move(error);
    ranks_->notify();
  }

  void reset() override {
    const auto lock = ranks_->lock();
    messages_.clear();
    sent_.clear();
    expected_ = 0;
    error_ = nullptr;
  }

  void check_complete() const override {
    const auto lock = ranks_->lock();
    STAGECOACH_CHECK(std::ssize(sent_) == expected_, "a step",
                     fmt::format("a receive for each of {} messages", sent_.size()),
                     std::to_string(expected_));
  }

 private:
  struct Message {
    std::vector<Tensor> tensors;
    std::int64_t number = -1;  // in the order of the receives; -1: not posted
    bool released = false;
    Event ready, read;
  };

  // A deque: growing it moves no message that somebody waits for.
  Message& message_at(std::int64_t micro) {
    while (static_cast<std::int64_t>(messages_.size()) <= micro) messages_.emplace_back();
    return messages_[static_cast<std::size_t>(micro)];
  }

  const std::shared_ptr<Rendezvous> ranks_;
  std::deque<Message> messages_;    // by micro-batch
  std::vector<std::int64_t> sent_;  // micro-batches in their order
  std::int64_t expected_ = 0;       // receives that were posted
  std::exception_ptr error_;
};

}  // namespace

std::unique_ptr<Channel> make_local_channel(std::shared_ptr<Rendezvous> ranks) {
  return std::make_unique<LocalChannel>(std::move(ranks));
}

}  // namespace stagecoach
