#include "comm/copying_channel.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>
#include <vector>

#include "core/buffer.h"
#include "core/error.h"

namespace stagecoach {
namespace {

// Work of a stream that goes on when the test says so.
class Gate {
 public:
  explicit Gate(Stream& stream) {
    stream.enqueue([opened = opened_.get_future().share()] { opened.wait(); });
  }
  void open() { opened_.set_value(); }

 private:
  std::promise<void> opened_;
};

bool is_reached_within_seconds(const Event& event, int seconds) {
  const Clock::time_point end = Clock::now() + std::chrono::seconds(seconds);
  while (!event.reached() && Clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return event.reached();
}

TEST(CopyingChannel, CopiesIntoTheReceiversBuffer) {
  const auto channel = make_copying_channel(Device{});
  const auto producer = Stream::create(), consumer = Stream::create();
  const OwnedTensor message(row_major({4})), buffer(row_major({4}));
  EXPECT_TRUE(channel->needs_receive_buffer());
  producer->enqueue([&] { message.tensor.as<float>()[3] = 9.0f; });
  channel->send(0, {{message.tensor}}, *producer);
  channel->expect(0, {{buffer.tensor}});
  channel->await(0, *consumer);
  const Tensor received = channel->receive(0, *consumer).at(0);
  channel->release(0, *consumer);
  channel->wait_released(0, *producer);
  producer->enqueue([&] { message.tensor.as<float>()[3] = 0.0f; });
  producer->synchronize();
  consumer->synchronize();
  EXPECT_EQ(received.data, buffer.tensor.data);
  EXPECT_EQ(received.as<float>()[3], 9.0f);
  channel->check_complete();
}

TEST(CopyingChannel, CopiesAllTensorsOfAMessage) {
  const auto channel = make_copying_channel(Device{});
  const auto stream = Stream::create();
  const OwnedTensor one(row_major({1})), other(row_major({2}));
  const OwnedTensor to_one(row_major({1})), to_other(row_major({2}));
  one.tensor.as<float>()[0] = 3.0f;
  other.tensor.as<float>()[1] = 4.0f;
  const std::vector<Tensor> message = {one.tensor, other.tensor};
  channel->expect(0, std::vector<Tensor>{to_one.tensor, to_other.tensor});
  channel->send(0, message, *stream);
  channel->await(0, *stream);
  const std::vector<Tensor> received = channel->receive(0, *stream);
  stream->synchronize();
  ASSERT_EQ(received.size(), 2u);
  EXPECT_EQ(received[0].data, to_one.tensor.data);
  EXPECT_EQ(to_one.tensor.as<float>()[0], 3.0f);
  EXPECT_EQ(to_other.tensor.as<float>()[1], 4.0f);
}

// Whichever comes last, the copy is made while the consumer still computes what came before, and
// the producer goes on then.
TEST(CopyingChannel, CopiesBesideWhatTheConsumerComputes) {
  for (const bool sent_first : {true, false}) {
    const auto channel = make_copying_channel(Device{});
    const auto producer = Stream::create(), consumer = Stream::create();
    const OwnedTensor message(row_major({4})), buffer(row_major({4}));
    Gate computing(*consumer);
    message.tensor.as<float>()[0] = 5.0f;
    if (sent_first) channel->send(0, {{message.tensor}}, *producer);
    channel->expect(0, {{buffer.tensor}});
    if (!sent_first) channel->send(0, {{message.tensor}}, *producer);
    Event copied;
    channel->wait_released(0, *producer);
    producer->record(copied);
    const bool overlaps = is_reached_within_seconds(copied, 20);
    EXPECT_TRUE(overlaps) << "the copy waits for the consumer's stream";
    if (overlaps) {
      EXPECT_EQ(buffer.tensor.as<float>()[0], 5.0f);
    }
    channel->await(0, *consumer);
    computing.open();
    consumer->synchronize();
    channel->release(0, *consumer);
  }
}

// One buffer for all messages: each is copied when the one before has been read, and the consumer
// reads what was sent. Without an event between them these are races.
TEST(CopyingChannel, WaitsUntilItsBufferHasBeenRead) {
  const auto channel = make_copying_channel(Device{});
  const auto producer = Stream::create(), consumer = Stream::create();
  constexpr std::int64_t kMessages = 100;
  const OwnedTensor message(row_major({64})), buffer(row_major({64}));
  std::vector<float> read;
  for (std::int64_t m = 0; m < kMessages; ++m) {
    if (m > 0) channel->wait_released(m - 1, *producer);
    producer->enqueue([&, m] {
      for (int i = 0; i < 64; ++i) message.tensor.as<float>()[i] = static_cast<float>(m);
    });
    channel->send(m, {{message.tensor}}, *producer);
    channel->expect(m, {{buffer.tensor}});
    channel->await(m, *consumer);
    const Tensor received = channel->receive(m, *consumer).at(0);
    consumer->enqueue([&, received] { read.push_back(received.as<float>()[63]); });
    channel->release(m, *consumer);
  }
  producer->synchronize();
  consumer->synchronize();
  ASSERT_EQ(read.size(), static_cast<std::size_t>(kMessages));
  for (std::int64_t m = 0; m < kMessages; ++m) {
    EXPECT_EQ(read[static_cast<std::size_t>(m)], static_cast<float>(m));
  }
}

// Posted into memory that is still read: the copy comes when it is released, not before.
TEST(CopyingChannel, ATakenBufferIsFilledWhenItIsReleased) {
  const auto channel = make_copying_channel(Device{});
  const auto producer = Stream::create(), consumer = Stream::create();
  const OwnedTensor first(row_major({1})), second(row_major({1})), buffer(row_major({1}));
  first.tensor.as<float>()[0] = 1.0f;
  second.tensor.as<float>()[0] = 2.0f;
  for (const auto& [micro, message] : {std::pair{0, &first}, std::pair{1, &second}}) {
    channel->send(micro, {{message->tensor}}, *producer);
    channel->expect(micro, {{buffer.tensor}});
  }
  channel->await(0, *consumer);
  Gate computing(*consumer);
  float seen = 0;
  consumer->enqueue([&] { seen = buffer.tensor.as<float>()[0]; });
  channel->release(0, *consumer);
  channel->await(1, *consumer);
  computing.open();
  consumer->synchronize();
  EXPECT_EQ(seen, 1.0f);
  EXPECT_EQ(buffer.tensor.as<float>()[0], 2.0f);
}

TEST(CopyingChannel, AFailedProducerFailsTheConsumer) {
  const auto channel = make_copying_channel(Device{});
  const auto producer = Stream::create(), consumer = Stream::create();
  const OwnedTensor message(row_major({1})), buffer(row_major({1}));
  producer->enqueue([] { throw Error("F", "this", "that"); });
  channel->send(0, {{message.tensor}}, *producer);
  channel->expect(0, {{buffer.tensor}});
  channel->await(0, *consumer);
  EXPECT_THROW(consumer->synchronize(), Error);
  // The next step begins anew.
  for (Stream* stream : {producer.get(), consumer.get()}) stream->reset();
  channel->reset();
  channel->send(0, {{message.tensor}}, *producer);
  channel->expect(0, {{buffer.tensor}});
  channel->await(0, *consumer);
  EXPECT_NO_THROW(consumer->synchronize());
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

TEST(CopyingChannel, SaysWhatDoesNotFit) {
  const auto channel = make_copying_channel(Device{});
  const auto stream = Stream::create();
  const OwnedTensor one(row_major({1})), other(row_major({1}));
  const std::vector<Tensor> two = {one.tensor, other.tensor};
  EXPECT_EQ(message_of([&] { channel->await(7, *stream); }),
            "a receive: expected one that was posted, of micro-batch 7, got none");
  channel->expect(0, {{one.tensor}});
  EXPECT_EQ(message_of([&] { channel->expect(0, {{one.tensor}}); }),
            "a receive: expected one of micro-batch 0, got a second one");
  channel->send(0, two, *stream);
  EXPECT_EQ(message_of([&] { channel->await(0, *stream); }),
            "a receive: expected 2 buffers for micro-batch 0, got 1");
  channel->send(2, {{other.tensor}}, *stream);
  channel->expect(1, {{other.tensor}});
  EXPECT_EQ(message_of([&] { channel->await(1, *stream); }),
            "a receive: expected micro-batch 1 as message 1, got micro-batch 2");
  channel->send(3, {{one.tensor}}, *stream);
  EXPECT_EQ(message_of([&] { channel->check_complete(); }),
            "a step: expected a receive for each of 3 messages, got 2");
}

TEST(CopyingChannel, AnAbortWakesWhoWaits) {
  const auto channel = make_copying_channel(Device{});
  const OwnedTensor buffer(row_major({1}));
  channel->expect(0, {{buffer.tensor}});
  const auto aborted = [&](const auto& call) {
    return std::async(std::launch::async, [&, call] {
      const auto stream = Stream::create();
      return message_of([&] { call(*stream); });
    });
  };
  auto reading = aborted([&](Stream& stream) { channel->await(0, stream); });
  auto writing = aborted([&](Stream& stream) { channel->wait_released(0, stream); });
  channel->abort(std::make_exception_ptr(Error("B", "this", "that")));
  EXPECT_EQ(reading.get(), "B: expected this, got that");
  EXPECT_EQ(writing.get(), "B: expected this, got that");
}

}  // namespace
}  // namespace stagecoach
