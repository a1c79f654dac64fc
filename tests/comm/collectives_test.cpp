#include "comm/collectives.h"

#include <gtest/gtest.h>

#include "comm/message.h"
#include "core/error.h"
#include "tests/forked/forked_world.h"

namespace stagecoach {
namespace {

using testing::run_forked;

TEST(Collectives, BringWhatEachGave) {
  const auto body = [](World& world) {
    MessageWriter writer;
    writer.put("process " + std::to_string(world.rank()));
    writer.put(std::vector<int>(static_cast<std::size_t>(world.rank()), 7));
    for (int round = 0; round < 20; ++round) {
      const std::vector<ByteVector> all = all_gather(world, writer.bytes());
      ASSERT_EQ(all.size(), 3U);
      for (int rank = 0; rank < 3; ++rank) {
        MessageReader reader(all[static_cast<std::size_t>(rank)]);
        EXPECT_EQ(reader.get<std::string>(), "process " + std::to_string(rank));
        EXPECT_EQ(reader.get_all<int>(), std::vector<int>(static_cast<std::size_t>(rank), 7));
        EXPECT_TRUE(reader.empty());
        EXPECT_THROW(reader.get<int>(), Error);
      }
      EXPECT_EQ(broadcast(world, writer.bytes(), 2), all[2]);
      EXPECT_EQ(gather(world, writer.bytes()).size(), world.rank() == 0 ? 3U : 0U);
      barrier(world);
    }
  };
  EXPECT_EQ(run_forked(3, body), (std::vector<int>{0, 0, 0}));
}

}  // namespace
}  // namespace stagecoach
