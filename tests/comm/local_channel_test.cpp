#include "comm/local_channel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/buffer.h"
#include "core/error.h"

namespace stagecoach {
namespace {

template <typename Call>
std::string thrown(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.message();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(LocalChannel, HandsOverTheSendersMemory) {
  const auto channel = make_local_channel();
  const auto stream = Stream::create();
  OwnedTensor message(row_major({4}));
  EXPECT_FALSE(channel->needs_receive_buffer());
  channel->send(0, {{message.tensor}}, *stream);
  channel->expect(0, {});
  channel->await(0, *stream);
  const Tensor received = channel->receive(0, *stream).at(0);
  EXPECT_EQ(received.data, message.tensor.data);
  EXPECT_EQ(received.spec, message.tensor.spec);
}

TEST(LocalChannel, AMessageIsAListOfTensors) {
  const auto channel = make_local_channel();
  const auto stream = Stream::create();
  const OwnedTensor one(row_major({4})), other(row_major({2, 3}));
  const std::vector<Tensor> message = {one.tensor, other.tensor};
  channel->expect(0, {});
  channel->send(0, message, *stream);
  channel->await(0, *stream);
  const std::vector<Tensor> received = channel->receive(0, *stream);
  ASSERT_EQ(received.size(), 2u);
  EXPECT_EQ(received[0].data, one.tensor.data);
  EXPECT_EQ(received[1].data, other.tensor.data);
}

// Producer and consumer on streams of their own, one buffer between them: without the waits, the
// consumer would see values of other messages (and ThreadSanitizer a race).
TEST(LocalChannel, OrdersWritesAndReadsOfOneBuffer) {
  constexpr int kMessages = 200;
  const auto channel = make_local_channel();
  OwnedTensor buffer(row_major({1}));
  auto* value = buffer.tensor.as<float>();
  std::vector<float> seen;

  std::thread producer([&] {
    const auto stream = Stream::create();
    for (int m = 0; m < kMessages; ++m) {
      if (m > 0) channel->wait_released(m - 1, *stream);
      stream->enqueue([value, m] { *value = static_cast<float>(m); });
      channel->send(m, {{buffer.tensor}}, *stream);
    }
    stream->synchronize();
  });
  const auto stream = Stream::create();
  for (int m = 0; m < kMessages; ++m) {
    channel->expect(m, {});
    channel->await(m, *stream);
    const auto* received = channel->receive(m, *stream).at(0).as<float>();
    stream->enqueue([received, &seen] { seen.push_back(*received); });
    channel->release(m, *stream);
  }
  stream->synchronize();
  producer.join();
  ASSERT_EQ(seen.size(), static_cast<std::size_t>(kMessages));
  for (int m = 0; m < kMessages; ++m) EXPECT_EQ(seen[m], static_cast<float>(m));
}

TEST(LocalChannel, MessagesMayBeAwaitedInAnyOrder) {
  const auto channel = make_local_channel();
  const auto stream = Stream::create();
  OwnedTensor first(row_major({1})), second(row_major({1}));
  channel->send(1, {{second.tensor}}, *stream);
  channel->send(0, {{first.tensor}}, *stream);
  channel->expect(1, {});
  channel->expect(0, {});
  channel->await(0, *stream);
  EXPECT_EQ(channel->receive(0, *stream).at(0).data, first.tensor.data);
  channel->await(1, *stream);
  EXPECT_EQ(channel->receive(1, *stream).at(0).data, second.tensor.data);
}

TEST(LocalChannel, MessagesComeInTheOrderOfTheirSends) {
  const auto channel = make_local_channel();
  const auto stream = Stream::create();
  const OwnedTensor message(row_major({1}));
  channel->send(1, {{message.tensor}}, *stream);
  EXPECT_EQ(thrown([&] { channel->await(1, *stream); }),
            "a receive: expected one that was posted, of micro-batch 1, got none");
  channel->expect(0, {});
  EXPECT_EQ(thrown([&] { channel->await(0, *stream); }),
            "a receive: expected micro-batch 0 as message 0, got micro-batch 1");
}

TEST(LocalChannel, AMessageIsExpectedOnce) {
  const auto channel = make_local_channel();
  channel->expect(2, {});
  EXPECT_EQ(thrown([&] { channel->expect(2, {}); }),
            "a receive: expected one of micro-batch 2, got a second one");
}

TEST(LocalChannel, NothingIsLeftOver) {
  const auto channel = make_local_channel();
  const auto stream = Stream::create();
  const OwnedTensor message(row_major({1}));
  EXPECT_EQ(thrown([&] { channel->check_complete(); }), "");
  channel->send(0, {{message.tensor}}, *stream);
  EXPECT_EQ(thrown([&] { channel->check_complete(); }),
            "a step: expected a receive for each of 1 messages, got 0");
}

TEST(LocalChannel, AFailedSenderFailsTheReceiver) {
  const auto channel = make_local_channel();
  const auto producer = Stream::create(), consumer = Stream::create();
  OwnedTensor message(row_major({1}));
  producer->enqueue([] { throw std::runtime_error("no activation"); });
  channel->send(0, {{message.tensor}}, *producer);
  channel->expect(0, {});
  channel->await(0, *consumer);
  bool ran = false;
  consumer->enqueue([&ran] { ran = true; });
  EXPECT_EQ(thrown([&] { consumer->synchronize(); }), "no activation");
  EXPECT_FALSE(ran);
  EXPECT_EQ(thrown([&] { producer->synchronize(); }), "no activation");
}

TEST(LocalChannel, AbortWakesWhoWaitsWithTheFirstError) {
  const auto channel = make_local_channel();
  const auto stream = Stream::create();
  std::string await_error, release_error;
  channel->expect(3, {});
  std::thread receiver([&] {
    const auto own = Stream::create();
    await_error = thrown([&] { channel->await(3, *own); });
  });
  std::thread sender([&] {
    const auto own = Stream::create();
    release_error = thrown([&] { channel->wait_released(0, *own); });
  });
  channel->abort(std::make_exception_ptr(std::runtime_error("first")));
  channel->abort(std::make_exception_ptr(std::runtime_error("second")));
  receiver.join();
  sender.join();
  EXPECT_EQ(await_error, "first");
  EXPECT_EQ(release_error, "first");
  EXPECT_EQ(thrown([&] { channel->await(0, *stream); }), "first");  // later calls too
}

TEST(LocalChannel, ResetForgetsMessagesAndError) {
  const auto channel = make_local_channel();
  const auto stream = Stream::create();
  OwnedTensor old_message(row_major({1})), new_message(row_major({1}));
  channel->send(0, {{old_message.tensor}}, *stream);
  channel->abort(std::make_exception_ptr(std::runtime_error("gone")));
  channel->reset();
  std::atomic<bool> sent{false};
  std::thread producer([&] {
    const auto own = Stream::create();
    sent = true;
    channel->send(0, {{new_message.tensor}}, *own);
    own->synchronize();
  });
  channel->expect(0, {});
  channel->await(0, *stream);
  EXPECT_TRUE(sent);
  EXPECT_EQ(channel->receive(0, *stream).at(0).data, new_message.tensor.data);
  stream->synchronize();
  producer.join();
}

}  // namespace
}  // namespace stagecoach
