#include "comm/device_channel.h"

#include <optional>
#include <utility>

#include "comm/message_memory.h"
#include "core/error.h"

namespace stagecoach {
namespace {

// What both ends have.
class DeviceChannel : public Channel {
 public:
  DeviceChannel(DeviceLinks& links, DeviceLink& link, Stream& stream, MessageTrailer trailer)
      : links_(links), link_(link), stream_(stream), trailer_(std::move(trailer)) {}

  bool needs_receive_buffer() const override { return true; }
  void send(std::int64_t, std::span<const Tensor>, Stream&) override { wrong_end(); }
  void expect(std::int64_t, std::span<const Tensor>) override { wrong_end(); }
  void await(std::int64_t, Stream&) override { wrong_end(); }
  std::vector<Tensor> receive(std::int64_t, Stream&) override { wrong_end(); }
  void release(std::int64_t, Stream&) override { wrong_end(); }
  void wait_released(std::int64_t, Stream&) override { wrong_end(); }

  void abort(std::exception_ptr) override { links_.abort(); }
  // Messages carry no numbers: that they are those which are expected, check() has proved.
  void check_complete() const override {}

 protected:
  [[noreturn]] static void wrong_end() {
    throw Error("a channel between devices", "a call of this end", "one of the other");
  }
  std::vector<Tensor> with_trailer(std::span<const Tensor> message) const {
    std::vector<Tensor> all(message.begin(), message.end());
    if (trailer_.word.defined()) all.push_back(trailer_.word);
    return all;
  }

  DeviceLinks& links_;
  DeviceLink& link_;
  Stream& stream_;
  const MessageTrailer trailer_;
};

class SendingEnd final : public DeviceChannel {
 public:
  using DeviceChannel::DeviceChannel;

  void send(std::int64_t micro, std::span<const Tensor> message, Stream& stream) override {
    Event ready;
    stream.record(ready);
    stream_.wait(ready);
    if (trailer_.write) trailer_.write();
    link_.exchange(with_trailer(message), {}, stream_);
    sent_.record(micro, stream_);
  }

  void wait_released(std::int64_t micro, Stream& stream) override { sent_.wait(micro, stream); }

  void reset() override { sent_.clear(); }

 private:
  SentMessages sent_;
};

class ReceivingEnd final : public DeviceChannel {
 public:
  using DeviceChannel::DeviceChannel;

  // Into memory that another message had before, when that has been released.
  void expect(std::int64_t micro, std::span<const Tensor> buffers) override {
    const auto [message, users] = posted_.post(micro, buffers);
    for (const Message* user : users) {
      STAGECOACH_CHECK(user->released.has_value(), "a receive",
                       fmt::format("memory for micro-batch {} that is free", micro),
                       "that of a message which is not released");
      stream_.wait(*user->released);
    }
    link_.exchange({}, with_trailer(buffers), stream_);
    if (trailer_.read) trailer_.read();
    stream_.record(message.arrived);
  }

  void await(std::int64_t micro, Stream& stream) override {
    stream.wait(posted_.at(micro).arrived);
  }
  std::vector<Tensor> receive(std::int64_t micro, Stream&) override {
    return posted_.at(micro).tensors;
  }
  void release(std::int64_t micro, Stream& stream) override {
    stream.record(posted_.at(micro).released.emplace());
  }

  void reset() override { posted_.clear(); }

 private:
  struct Message {
    std::vector<Tensor> tensors;
    Event arrived;
    std::optional<Event> released;
  };

  PostedReceives<Message> posted_;
};

}  // namespace

std::unique_ptr<Channel> make_device_sending_channel(DeviceLinks& links, DeviceLink& link,
                                                     Stream& stream, MessageTrailer trailer) {
  return std::make_unique<SendingEnd>(links, link, stream, std::move(trailer));
}

std::unique_ptr<Channel> make_device_receiving_channel(DeviceLinks& links, DeviceLink& link,
                                                       Stream& stream, MessageTrailer trailer) {
  return std::make_unique<ReceivingEnd>(links, link, stream, std::move(trailer));
}

}  // namespace stagecoach
