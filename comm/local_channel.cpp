#include "comm/local_channel.h"

#include <condition_variable>
#include <deque>
#include <mutex>

namespace stagecoach {
namespace {

class LocalChannel : public Channel {
 public:
  bool needs_receive_buffer() const override { return false; }

  void send(std::int64_t micro, const Tensor& tensor, Stream& stream) override {
    Event ready;
    stream.record(ready);
    std::lock_guard lock(mutex_);
    Message& message = message_at(micro);
    message.tensor = tensor;
    message.ready = ready;
    message.sent = true;
    changed_.notify_all();
  }

  void await(std::int64_t micro, Stream& stream) override {
    stream.wait(event_of(micro, &Message::sent, &Message::ready));
  }

  Tensor receive(std::int64_t micro, const Tensor&, Stream&) override {
    std::lock_guard lock(mutex_);
    return message_at(micro).tensor;
  }

  void release(std::int64_t micro, Stream& stream) override {
    Event read;
    stream.record(read);
    std::lock_guard lock(mutex_);
    Message& message = message_at(micro);
    message.read = read;
    message.released = true;
    changed_.notify_all();
  }

  void wait_released(std::int64_t micro, Stream& stream) override {
    stream.wait(event_of(micro, &Message::released, &Message::read));
  }

  void abort(std::exception_ptr error) override {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
  }

  void reset() override {
    std::lock_guard lock(mutex_);
    messages_.clear();
    error_ = nullptr;
  }

 private:
  struct Message {
    Tensor tensor;
    bool sent = false, released = false;
    Event ready, read;
  };

  // A deque: growing it moves no message that somebody waits for.
  Message& message_at(std::int64_t micro) {
    while (static_cast<std::int64_t>(messages_.size()) <= micro) messages_.emplace_back();
    return messages_[static_cast<std::size_t>(micro)];
  }

  // Blocks until the peer has set `flag`.
  Event event_of(std::int64_t micro, bool Message::*flag, Event Message::*event) {
    std::unique_lock lock(mutex_);
    Message& message = message_at(micro);
    changed_.wait(lock, [&] { return message.*flag || error_; });
    if (error_) std::rethrow_exception(error_);
    return message.*event;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
  std::exception_ptr error_;
};

}  // namespace

std::unique_ptr<Channel> make_local_channel() {
  return std::make_unique<LocalChannel>();
}

}  // namespace stagecoach
