#include "comm/process_channel.h"

#include <gtest/gtest.h>

#include "core/buffer.h"
#include "core/error.h"
#include "tests/forked/forked_world.h"

namespace stagecoach {
namespace {

using testing::run_forked;

const std::vector<int> kBothPass = {0, 0};

// One buffer at each end: what is sent is the value of its message, and what is read, too.
TEST(ProcessChannel, OrdersWritesAndReadsOfOneBuffer) {
  constexpr int kMessages = 200;
  const auto body = [](World& world) {
    std::uint32_t flag = 0;
    const OwnedTensor buffer(row_major({1000}));
    auto* value = buffer.tensor.as<float>();
    const auto stream = Stream::create();
    if (world.rank() == 0) {
      const auto channel = make_sending_channel(world, 1, 5, &flag);
      for (int m = 0; m < kMessages; ++m) {
        if (m > 0) channel->wait_released(m - 1, *stream);
        stream->enqueue([=] { value[0] = value[999] = static_cast<float>(m); });
        channel->send(m, {{buffer.tensor}}, *stream);
      }
      stream->synchronize();
      return channel->check_complete();
    }
    std::vector<float> seen;
    const auto channel = make_receiving_channel(world, 0, 5, &flag);
    for (int m = 0; m < kMessages; ++m) {
      channel->expect(m, {{buffer.tensor}});
      channel->await(m, *stream);
      EXPECT_EQ(channel->receive(m, *stream).at(0).data, value);
      stream->enqueue([&seen, value] {
        EXPECT_EQ(value[0], value[999]);
        seen.push_back(value[0]);
      });
      channel->release(m, *stream);
    }
    stream->synchronize();
    channel->check_complete();
    ASSERT_EQ(seen.size(), static_cast<std::size_t>(kMessages));
    for (int m = 0; m < kMessages; ++m) EXPECT_EQ(seen[m], static_cast<float>(m));
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

TEST(ProcessChannel, AFlagTravelsWithAMessage) {
  const auto body = [](World& world) {
    std::uint32_t flag = 0;
    const OwnedTensor one(row_major({1})), other(row_major({7}));
    const auto stream = Stream::create();
    if (world.rank() == 0) {
      const auto channel = make_sending_channel(world, 1, 5, &flag);
      channel->send(0, {}, *stream);
      channel->wait_released(0, *stream);
      stream->enqueue([&] { flag = 1; });
      channel->send(1, std::vector{one.tensor, other.tensor}, *stream);
      return channel->check_complete();
    }
    const auto channel = make_receiving_channel(world, 0, 5, &flag);
    channel->expect(0, {});
    channel->await(0, *stream);
    stream->synchronize();
    EXPECT_EQ(flag, 0U);
    channel->expect(1, std::vector{one.tensor, other.tensor});
    channel->await(1, *stream);
    EXPECT_EQ(channel->receive(1, *stream).size(), 2U);
    stream->synchronize();
    EXPECT_EQ(flag, 1U);
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

// Whoever waits is woken: for a message, for memory that a message has, and at the other end.
TEST(ProcessChannel, AbortWakesBothEnds) {
  const auto body = [](World& world) {
    const OwnedTensor buffer(row_major({1}));
    const auto stream = Stream::create();
    if (world.rank() == 0) {
      const auto channel = make_receiving_channel(world, 1, 5, nullptr);
      channel->expect(0, {{buffer.tensor}});
      channel->expect(1, {{buffer.tensor}});  // whose memory is never released
      channel->await(1, *stream);
      std::byte nothing{};
      world.receive(1, 6, {&nothing, 1}).wait();
      channel->abort(std::make_exception_ptr(Error("a rank", "to go on", "an end")));
      EXPECT_THROW(stream->synchronize(), Error);
      return channel->reset();
    }
    const auto channel = make_sending_channel(world, 0, 5, nullptr);
    channel->send(0, {{buffer.tensor}}, *stream);
    channel->check_complete();
    const auto back = make_receiving_channel(world, 0, 7, nullptr);
    back->expect(0, {{buffer.tensor}});
    back->await(0, *stream);
    const std::byte nothing{};
    world.send(0, 6, {&nothing, 1}).wait();
    try {
      stream->synchronize();
      ADD_FAILURE() << "no error";
    } catch (const PeerError& error) {
      EXPECT_NE(error.message().find("a rank: expected to go on, got an end"), std::string::npos);
    }
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

TEST(ProcessChannel, RefusesAnotherMessageAndTheOtherEnd) {
  const auto body = [](World& world) {
    const OwnedTensor buffer(row_major({1}));
    const auto stream = Stream::create();
    if (world.rank() == 0) {
      const auto channel = make_sending_channel(world, 1, 5, nullptr);
      channel->send(4, {{buffer.tensor}}, *stream);
      EXPECT_THROW(channel->expect(4, {}), Error);
      EXPECT_THROW(channel->wait_released(3, *stream), Error);
      return channel->check_complete();
    }
    const auto channel = make_receiving_channel(world, 0, 5, nullptr);
    EXPECT_THROW(channel->send(0, {}, *stream), Error);
    EXPECT_THROW(channel->await(3, *stream), Error);
    channel->expect(3, {{buffer.tensor}});
    channel->await(3, *stream);
    try {
      stream->synchronize();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.message(),
                "a receive: expected 1 tensors of micro-batch 3, got 1 of micro-batch 4");
    }
    stream->reset();
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

}  // namespace
}  // namespace stagecoach
