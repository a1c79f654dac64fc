// Channels over links that are queues of this process, on CPU streams.
#include "comm/device_channel.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <vector>

#include "core/buffer.h"
#include "core/error.h"
#include "tests/forked/forked_world.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using Bytes = std::vector<std::byte>;

// What is sent along it comes back, in its order.
class Loop final : public DeviceLink {
 public:
  void exchange(std::span<const Tensor> sent, std::span<const Tensor> received,
                Stream& stream) override {
    for (const Tensor& tensor : sent) {
      stream.enqueue([this, tensor] {
        const auto* data = static_cast<const std::byte*>(tensor.data);
        under_way_.emplace_back(data, data + tensor.bytes());
      });
    }
    for (const Tensor& tensor : received) {
      stream.enqueue([this, tensor] {
        std::memcpy(tensor.data, under_way_.front().data(), under_way_.front().size());
        under_way_.pop_front();
      });
    }
  }

 private:
  std::deque<Bytes> under_way_;  // of the one stream of both ends
};

class Links final : public DeviceLinks {
 public:
  explicit Links(World& world) : DeviceLinks(world, kPatience) {}
  DeviceLink& connect(int, Use) override { return loop_; }
  DeviceGroup& make_group(const std::vector<int>&) override {
    throw Error("the loop", "a link", "a group");
  }
  std::unique_ptr<Stream> create_stream() override { return Stream::create(); }
  void abort() noexcept override { ++aborts; }
  int aborts = 0;

 protected:
  void check() override {}

 private:
  Loop loop_;
};

struct Ends {
  explicit Ends(World& world)
      : links(world),
        word(row_major({1})),
        sending(make_device_sending_channel(links, links.connect(0, DeviceLinks::Use::kSend),
                                            *messages, {word.tensor, [this] { set_word(1); }, {}})),
        receiving(make_device_receiving_channel(links, links.connect(0, DeviceLinks::Use::kReceive),
                                                *messages, {word.tensor, {}, [this] {
                                                              messages->enqueue([this] {
                                                                seen = *word.tensor.as<float>();
                                                              });
                                                            }})) {}
  void set_word(float value) {
    messages->enqueue([this, value] { *word.tensor.as<float>() = value; });
  }

  const std::unique_ptr<Stream> messages = Stream::create(), computes = Stream::create();
  float seen = 0;
  Links links;
  OwnedTensor word;
  std::unique_ptr<Channel> sending, receiving;
};

void in_a_world(const std::function<void(World&)>& body) {
  EXPECT_EQ(testing::run_forked(1, body), std::vector<int>{0});
}

TEST(DeviceChannel, HandsMessagesAndTheirTrailersOver) {
  in_a_world([](World& world) {
    Ends ends(world);
    const OwnedTensor sent(row_major({3})), buffer(row_major({3}));
    ends.computes->enqueue([&] { sent.tensor.as<float>()[2] = 5; });
    ends.sending->send(0, {&sent.tensor, 1}, *ends.computes);
    ends.set_word(9);
    ends.receiving->expect(0, {&buffer.tensor, 1});
    ends.receiving->await(0, *ends.computes);
    const std::vector<Tensor> message = ends.receiving->receive(0, *ends.computes);
    ASSERT_EQ(message.size(), 1U);
    EXPECT_EQ(message[0].data, buffer.tensor.data);
    ends.receiving->release(0, *ends.computes);
    ends.sending->wait_released(0, *ends.computes);
    ends.computes->synchronize();
    EXPECT_EQ(buffer.tensor.as<float>()[2], 5);
    EXPECT_EQ(ends.seen, 1);
  });
}

TEST(DeviceChannel, ReceivesIntoMemoryThatIsReleasedOnly) {
  in_a_world([](World& world) {
    Ends ends(world);
    const OwnedTensor sent(row_major({3})), buffer(row_major({3}));
    for (int m = 0; m < 3; ++m) ends.sending->send(m, {&sent.tensor, 1}, *ends.computes);
    ends.receiving->expect(0, {&buffer.tensor, 1});
    testing::expect_error(
        [&] {
          ends.receiving->expect(0, {&buffer.tensor, 1});
        },
        {"a second one"});
    testing::expect_error(
        [&] {
          ends.receiving->expect(1, {&buffer.tensor, 1});
        },
        {"memory for micro-batch 1 that is free"});
    ends.receiving->reset();
    ends.receiving->expect(0, {&buffer.tensor, 1});
    ends.receiving->release(0, *ends.computes);
    ends.receiving->expect(1, {&buffer.tensor, 1});
    ends.messages->synchronize();
  });
}

TEST(DeviceChannel, RefusesCallsOfTheOtherEnd) {
  in_a_world([](World& world) {
    Ends ends(world);
    testing::expect_error([&] { ends.sending->expect(0, {}); }, {"a call of this end"});
    testing::expect_error([&] { ends.receiving->send(0, {}, *ends.computes); },
                          {"a call of this end"});
    testing::expect_error([&] { ends.sending->wait_released(3, *ends.computes); },
                          {"one of micro-batch 3 before its memory is used again"});
    testing::expect_error([&] { ends.receiving->await(3, *ends.computes); },
                          {"one that was posted, of micro-batch 3"});
    ends.sending->abort(nullptr);
    EXPECT_EQ(ends.links.aborts, 1);
  });
}

}  // namespace
}  // namespace stagecoach
