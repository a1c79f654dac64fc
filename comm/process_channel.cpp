#include "comm/process_channel.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "comm/message.h"
#include "comm/message_memory.h"
#include "core/error.h"

namespace stagecoach {
namespace {

// Before the tensors of a message.
struct Header {
  std::int64_t micro = 0, tensors = 0;
  std::uint32_t failed = 0, padding = 0;
};

// What both ends have.
class ProcessChannel : public Channel {
 public:
  ProcessChannel(World& world, int peer, int tag, std::uint32_t* failure_flag)
      : world_(world), peer_(peer), tag_(tag), failure_flag_(failure_flag) {}

  bool needs_receive_buffer() const override { return true; }
  void send(std::int64_t, std::span<const Tensor>, Stream&) override { wrong_end(); }
  void expect(std::int64_t, std::span<const Tensor>) override { wrong_end(); }
  void await(std::int64_t, Stream&) override { wrong_end(); }
  std::vector<Tensor> receive(std::int64_t, Stream&) override { wrong_end(); }
  void release(std::int64_t, Stream&) override { wrong_end(); }
  void wait_released(std::int64_t, Stream&) override { wrong_end(); }

  void abort(std::exception_ptr error) override { world_.abort(error); }
  void check_complete() const override { stream_->synchronize(); }

 protected:
  [[noreturn]] static void wrong_end() {
    throw Error("a channel between processes", "a call of this end", "one of the other");
  }

  World& world_;
  const int peer_, tag_;
  std::uint32_t* const failure_flag_;
  const std::unique_ptr<Stream> stream_ = Stream::create();
};

class SendingChannel : public ProcessChannel {
 public:
  using ProcessChannel::ProcessChannel;

  void send(std::int64_t micro, std::span<const Tensor> message, Stream& stream) override {
    Event ready;
    stream.record(ready);
    stream_->wait(ready);
    stream_->enqueue([this, micro, tensors = std::vector(message.begin(), message.end())] {
      transfer(micro, tensors);
    });
    sent_.record(micro, *stream_);
  }

  void wait_released(std::int64_t micro, Stream& stream) override { sent_.wait(micro, stream); }

  void reset() override {
    stream_->reset();
    sent_.clear();
  }

 private:
  void transfer(std::int64_t micro, const std::vector<Tensor>& tensors) {
    Header header;
    header.micro = micro;
    header.tensors = std::ssize(tensors);
    if (failure_flag_ != nullptr) header.failed = std::atomic_ref(*failure_flag_).load();
    std::vector<Transfer> transfers;
    transfers.push_back(world_.send(peer_, tag_, std::as_bytes(std::span(&header, 1))));
    for (const Tensor& tensor : tensors) {
      transfers.push_back(world_.send(peer_, tag_, byte_span(tensor)));
    }
    wait_for_all(transfers);
  }

  SentMessages sent_;
};

class ReceivingChannel : public ProcessChannel {
 public:
  using ProcessChannel::ProcessChannel;

  // Into memory that another message had before, when that has been released.
  void expect(std::int64_t micro, std::span<const Tensor> buffers) override {
    const std::lock_guard lock(mutex_);
    auto [message, users] = posted_.post(micro, buffers);
    stream_->enqueue([this, micro, awaited = std::move(users), tensors = message.tensors] {
      for (const Message* user : awaited) await_release(*user);
      transfer(micro, tensors);
    });
    stream_->record(message.arrived);
  }

  void await(std::int64_t micro, Stream& stream) override { stream.wait(posted(micro).arrived); }
  std::vector<Tensor> receive(std::int64_t micro, Stream&) override {
    return posted(micro).tensors;
  }
  void release(std::int64_t micro, Stream& stream) override {
    Event released;
    stream.record(released);
    Message& message = posted(micro);
    {
      const std::lock_guard lock(mutex_);
      message.released = released;
    }
    changed_.notify_all();
  }

  // A message that waits for memory is not to come.
  void abort(std::exception_ptr error) override {
    {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = error;
    }
    changed_.notify_all();
    ProcessChannel::abort(error);
  }
  void reset() override {
    stream_->reset();
    const std::lock_guard lock(mutex_);
    posted_.clear();
    error_ = nullptr;
  }

 private:
  struct Message {
    std::vector<Tensor> tensors;
    Event arrived;
    std::optional<Event> released;
  };

  Message& posted(std::int64_t micro) {
    const std::lock_guard lock(mutex_);
    return posted_.at(micro);
  }

  void await_release(const Message& message) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return message.released || error_; });
    if (error_) std::rethrow_exception(error_);
    const Event released = *message.released;
    lock.unlock();
    released.synchronize();
  }

  void transfer(std::int64_t micro, const std::vector<Tensor>& tensors) {
    Header header;
    std::vector<Transfer> transfers;
    transfers.push_back(world_.receive(peer_, tag_, std::as_writable_bytes(std::span(&header, 1))));
    for (const Tensor& tensor : tensors) {
      transfers.push_back(world_.receive(peer_, tag_, byte_span(tensor)));
    }
    wait_for_all(transfers);
    STAGECOACH_CHECK(header.micro == micro && header.tensors == std::ssize(tensors), "a receive",
                     fmt::format("{} tensors of micro-batch {}", tensors.size(), micro),
                     fmt::format("{} of micro-batch {}", header.tensors, header.micro));
    if (header.failed != 0 && failure_flag_ != nullptr) {
      std::atomic_ref(*failure_flag_).store(header.failed);
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  PostedReceives<Message> posted_;
  std::exception_ptr error_;
};

}  // namespace

std::unique_ptr<Channel> make_sending_channel(World& world, int to, int tag,
                                              std::uint32_t* failure_flag) {
  return std::make_unique<SendingChannel>(world, to, tag, failure_flag);
}

std::unique_ptr<Channel> make_receiving_channel(World& world, int from, int tag,
                                                std::uint32_t* failure_flag) {
  return std::make_unique<ReceivingChannel>(world, from, tag, failure_flag);
}

}  // namespace stagecoach
