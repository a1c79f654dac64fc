#include "comm/message_memory.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

struct Message {
  std::vector<Tensor> tensors;
};

TEST(PostedReceives, NamesTheMessagesThatHadTheMemoryLast) {
  float memory[2];
  const Tensor first{&memory[0], row_major({1}), {}}, second{&memory[1], row_major({1}), {}};
  PostedReceives<Message> posted;
  const Tensor both[] = {first, second};
  EXPECT_TRUE(posted.post(3, {&first, 1}).users.empty());
  EXPECT_TRUE(posted.post(4, {&second, 1}).users.empty());
  const auto third = posted.post(5, both);
  EXPECT_EQ(third.users, (std::vector<const Message*>{&posted.at(3), &posted.at(4)}));
  EXPECT_EQ(third.message.tensors.size(), 2u);
  EXPECT_EQ(posted.post(6, {&first, 1}).users, std::vector<const Message*>{&posted.at(5)});
  EXPECT_THROW(posted.post(5, both), Error);
  EXPECT_THROW(posted.at(7), Error);
  EXPECT_EQ(posted.find(7), nullptr);
  posted.clear();
  EXPECT_TRUE(posted.post(5, both).users.empty());
}

TEST(SentMessages, AMessageThatWasNotSentIsAnError) {
  const auto stream = Stream::create(Device{});
  SentMessages sent;
  sent.record(1, *stream);
  EXPECT_NO_THROW(sent.wait(1, *stream));
  EXPECT_THROW(sent.wait(2, *stream), Error);
}

}  // namespace
}  // namespace stagecoach
