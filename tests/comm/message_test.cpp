#include "comm/message.h"

#include <gtest/gtest.h>

#include <optional>

#include "core/error.h"

namespace stagecoach {
namespace {

TEST(Message, GivesBackWhatWasPacked) {
  MessageWriter writer;
  writer.put(7);
  writer.put(std::string("text \0 with a zero", 18));
  writer.put(std::vector<double>{1.5, -2});
  writer.put(std::vector<std::string>{"", "a"});
  writer.put(std::optional<double>(0.25));
  writer.put(std::vector<int>());
  MessageReader reader(writer.bytes());
  EXPECT_EQ(reader.get<int>(), 7);
  EXPECT_EQ(reader.get<std::string>(), std::string("text \0 with a zero", 18));
  EXPECT_EQ(reader.get_all<double>(), (std::vector<double>{1.5, -2}));
  EXPECT_EQ(reader.get_all<std::string>(), (std::vector<std::string>{"", "a"}));
  EXPECT_EQ(reader.get<std::optional<double>>(), 0.25);
  EXPECT_FALSE(reader.empty());
  EXPECT_TRUE(reader.get_all<int>().empty());
  EXPECT_TRUE(reader.empty());
}

// Sizes that a message claims are looked at before memory is taken for them.
TEST(Message, RefusesWhatIsNotThere) {
  MessageWriter writer;
  writer.put(std::int64_t{1} << 60);
  EXPECT_THROW(MessageReader(writer.bytes()).get<std::string>(), Error);
  EXPECT_THROW(MessageReader(writer.bytes()).get_all<double>(), Error);
  MessageReader reader(writer.bytes());
  reader.get<std::int64_t>();
  EXPECT_THROW(reader.get<char>(), Error);
}

}  // namespace
}  // namespace stagecoach
