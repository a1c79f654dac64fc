// What NCCL itself does without a GPU.
#include "comm/nccl/nccl_api.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "core/error.h"

namespace stagecoach {
namespace {

class NcclApiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      nccl();
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

TEST_F(NcclApiTest, IsNotOlderThanItsHeader) {
  int version = 0;
  ASSERT_EQ(nccl().get_version(&version), ncclSuccess);
  EXPECT_GE(version, NCCL_VERSION_CODE);
  EXPECT_EQ(version / 10000, NCCL_MAJOR);
}

TEST_F(NcclApiTest, HasWordsForErrors) {
  EXPECT_STREQ(nccl().get_error_string(ncclSuccess), "no error");
  EXPECT_NE(std::string(nccl().get_error_string(ncclInvalidUsage)).find("invalid usage"),
            std::string::npos);
}

// It listens for a communicator's first rank, by which another process finds it.
TEST_F(NcclApiTest, GivesEachCommunicatorAnIdOfItsOwn) {
  ncclUniqueId first{}, second{};
  ASSERT_EQ(nccl().get_unique_id(&first), ncclSuccess);
  ASSERT_EQ(nccl().get_unique_id(&second), ncclSuccess);
  EXPECT_NE(std::memcmp(&first, &second, sizeof first), 0);
}

TEST_F(NcclApiTest, MakesNoCommunicatorWithoutAConfiguration) {
  ncclUniqueId id{};
  ASSERT_EQ(nccl().get_unique_id(&id), ncclSuccess);
  ncclComm_t comm = nullptr;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.maxCTAs = -1;
  const ncclResult_t status = nccl().init_rank(&comm, 2, id, 0, &config);
  EXPECT_NE(status, ncclSuccess);
  EXPECT_NE(status, ncclInProgress);
}

// Groups are balanced, with nothing in them.
TEST_F(NcclApiTest, EndsAnEmptyGroup) {
  EXPECT_EQ(nccl().group_start(), ncclSuccess);
  EXPECT_EQ(nccl().group_end(), ncclSuccess);
}

}  // namespace
}  // namespace stagecoach
