#include "comm/copying_channel.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/buffer.h"
#include "core/error.h"

namespace stagecoach {
namespace {

TEST(CopyingChannel, CopiesIntoTheReceiversBuffer) {
  const auto channel = make_copying_channel();
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
}

TEST(CopyingChannel, CopiesAllTensorsOfAMessage) {
  const auto channel = make_copying_channel();
  const auto stream = Stream::create();
  const OwnedTensor one(row_major({1})), other(row_major({2}));
  const OwnedTensor to_one(row_major({1})), to_other(row_major({2}));
  one.tensor.as<float>()[0] = 3.0f;
  other.tensor.as<float>()[1] = 4.0f;
  const std::vector<Tensor> message = {one.tensor, other.tensor};
  channel->expect(0, std::vector<Tensor>{to_one.tensor, to_other.tensor});
  channel->expect(1, {{to_one.tensor}});
  channel->send(0, message, *stream);
  channel->send(1, message, *stream);
  channel->await(0, *stream);
  const std::vector<Tensor> received = channel->receive(0, *stream);
  stream->synchronize();
  ASSERT_EQ(received.size(), 2u);
  EXPECT_EQ(received[0].data, to_one.tensor.data);
  EXPECT_EQ(to_one.tensor.as<float>()[0], 3.0f);
  EXPECT_EQ(to_other.tensor.as<float>()[1], 4.0f);
  channel->await(1, *stream);
  try {
    channel->receive(1, *stream);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "a receive: expected 2 buffers for micro-batch 1, got 1");
  }
}

}  // namespace
}  // namespace stagecoach
