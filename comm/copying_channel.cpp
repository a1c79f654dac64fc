#include "comm/copying_channel.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "comm/message_memory.h"
#include "core/copy.h"
#include "core/error.h"
#include "core/graph.h"

namespace stagecoach {
namespace {

// A message is copied as soon as it is sent and expected and its buffers are free: by a stream of
// the channel's own, which waits for these and nothing else, so that the consumer computes
// meanwhile.
class CopyingChannel : public Channel {
 public:
  CopyingChannel(Device consumer, std::shared_ptr<Rendezvous> ranks)
      : ranks_(std::move(ranks)), stream_(Stream::create(consumer)) {}

  bool needs_receive_buffer() const override { return true; }

  void send(std::int64_t micro, std::span<const Tensor> message, Stream& stream) override {
    Event ready;
    stream.record(ready);
    const auto lock = ranks_->lock();
    sent_.push_back({micro, {message.begin(), message.end()}, ready});
    copy_what_can_be();
  }

  void expect(std::int64_t micro, std::span<const Tensor> buffers) override {
    const auto lock = ranks_->lock();
    auto [message, users] = posted_.post(micro, buffers);
    message.users = std::move(users);
    expected_.push_back(micro);
    copy_what_can_be();
  }

  void await(std::int64_t micro, Stream& stream) override {
    auto lock = ranks_->lock();
    if (error_) std::rethrow_exception(error_);
    const Message& message = posted_.at(micro);
    ranks_->wait(lock, [&] { return message.arrived || message.error || error_; });
    if (error_) std::rethrow_exception(error_);
    if (message.error) std::rethrow_exception(message.error);
    const Event arrived = *message.arrived;
    lock.unlock();
    stream.wait(arrived);
  }

  std::vector<Tensor> receive(std::int64_t micro, Stream&) override {
    const auto lock = ranks_->lock();
    return posted_.at(micro).tensors;
  }

  void release(std::int64_t micro, Stream& stream) override {
    Event released;
    stream.record(released);
    const auto lock = ranks_->lock();
    posted_.at(micro).released = released;
    copy_what_can_be();
  }

  // The memory of a message is free when it is copied.
  void wait_released(std::int64_t micro, Stream& stream) override {
    auto lock = ranks_->lock();
    const auto copied = [&] {
      const Message* message = posted_.find(micro);
      return message == nullptr ? std::nullopt : message->arrived;
    };
    ranks_->wait(lock, [&] { return copied() || error_; });
    if (error_) std::rethrow_exception(error_);
    const Event arrived = *copied();
    lock.unlock();
    stream.wait(arrived);
  }

  void abort(std::exception_ptr error) override {
    const auto lock = ranks_->lock();
    if (!error_) error_ = std::move(error);
    ranks_->notify();
  }

  void reset() override {
    const auto lock = ranks_->lock();
    posted_.clear();
    sent_.clear();
    expected_.clear();
    copied_ = 0;
    error_ = nullptr;
    // Where graphs are captured this may be a part of one, in which nothing waits for a stream.
    if (!Graph::can_capture(stream_->device())) stream_->reset();
  }

  void check_complete() const override {
    const auto lock = ranks_->lock();
    STAGECOACH_CHECK(sent_.size() == expected_.size(), "a step",
                     fmt::format("a receive for each of {} messages", sent_.size()),
                     std::to_string(expected_.size()));
  }

 private:
  struct Sent {
    std::int64_t micro;
    std::vector<Tensor> tensors;
    Event ready;
  };
  struct Message {
    std::vector<Tensor> tensors;        // that it is copied to
    std::vector<const Message*> users;  // that had the buffers before
    std::optional<Event> arrived, released;
    std::exception_ptr error;
  };

  // With the lock held, after any change.
  void copy_what_can_be() {
    while (copied_ < std::min(sent_.size(), expected_.size())) {
      Message& message = posted_.at(expected_[copied_]);
      if (!std::ranges::all_of(message.users,
                               [](const Message* user) { return user->released.has_value(); })) {
        break;
      }
      try {
        copy_message(sent_[copied_], message);
      } catch (...) {
        message.error = std::current_exception();
      }
      ++copied_;
    }
    ranks_->notify();
  }

  void copy_message(const Sent& sent, Message& message) {
    const std::int64_t micro = expected_[copied_];
    STAGECOACH_CHECK(sent.micro == micro, "a receive",
                     fmt::format("micro-batch {} as message {}", micro, copied_),
                     fmt::format("micro-batch {}", sent.micro));
    STAGECOACH_CHECK(sent.tensors.size() == message.tensors.size(), "a receive",
                     fmt::format("{} buffers for micro-batch {}", sent.tensors.size(), micro),
                     std::to_string(message.tensors.size()));
    for (const Message* user : message.users) stream_->wait(*user->released);
    stream_->wait(sent.ready);
    for (std::size_t i = 0; i < sent.tensors.size(); ++i) {
      copy(*stream_, message.tensors[i], sent.tensors[i]);
    }
    Event arrived;
    stream_->record(arrived);
    message.arrived = arrived;
  }

  const std::shared_ptr<Rendezvous> ranks_;
  PostedReceives<Message> posted_;
  std::vector<Sent> sent_;
  std::vector<std::int64_t> expected_;  // micro-batches in their order
  std::size_t copied_ = 0;              // of those
  std::exception_ptr error_;
  const std::unique_ptr<Stream> stream_;
};

}  // namespace

std::unique_ptr<Channel> make_copying_channel(Device consumer, std::shared_ptr<Rendezvous> ranks) {
  return std::make_unique<CopyingChannel>(consumer, std::move(ranks));
}

}  // namespace stagecoach
