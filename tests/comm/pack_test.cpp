#include "comm/pack.h"

#include <gtest/gtest.h>

#include <optional>

#include "core/error.h"

namespace stagecoach {
namespace {

TEST(Pack, GivesBackWhatWasPacked) {
  Packer packer;
  packer.put(7);
  packer.put(std::string("text \0 with a zero", 18));
  packer.put(std::vector<double>{1.5, -2});
  packer.put(std::vector<std::string>{"", "a"});
  packer.put(std::optional<double>(0.25));
  packer.put(std::vector<int>());
  Unpacker unpacker(packer.bytes());
  EXPECT_EQ(unpacker.get<int>(), 7);
  EXPECT_EQ(unpacker.get<std::string>(), std::string("text \0 with a zero", 18));
  EXPECT_EQ(unpacker.get_all<double>(), (std::vector<double>{1.5, -2}));
  EXPECT_EQ(unpacker.get_all<std::string>(), (std::vector<std::string>{"", "a"}));
  EXPECT_EQ(unpacker.get<std::optional<double>>(), 0.25);
  EXPECT_FALSE(unpacker.empty());
  EXPECT_TRUE(unpacker.get_all<int>().empty());
  EXPECT_TRUE(unpacker.empty());
}

// Sizes that a message claims are looked at before memory is taken for them.
TEST(Pack, RefusesWhatIsNotThere) {
  Packer packer;
  packer.put(std::int64_t{1} << 60);
  EXPECT_THROW(Unpacker(packer.bytes()).get<std::string>(), Error);
  EXPECT_THROW(Unpacker(packer.bytes()).get_all<double>(), Error);
  Unpacker unpacker(packer.bytes());
  unpacker.get<std::int64_t>();
  EXPECT_THROW(unpacker.get<char>(), Error);
}

}  // namespace
}  // namespace stagecoach
