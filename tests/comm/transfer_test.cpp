#include "comm/transfer.h"

#include <gtest/gtest.h>

#include <thread>

#include "core/error.h"

namespace stagecoach {
namespace {

TEST(Transfer, EndsOnce) {
  const Transfer transfer, same = transfer;
  EXPECT_FALSE(transfer.has_ended());
  std::thread ender([&] { same.end(); });
  transfer.wait();
  ender.join();
  EXPECT_TRUE(transfer.has_ended());
  transfer.end(std::make_exception_ptr(Error("a", "b", "c")));
  EXPECT_NO_THROW(same.wait());
}

TEST(Transfer, WaitingForAllWaitsForThoseBehindAnError) {
  std::vector<Transfer> transfers(3);
  transfers[0].end(std::make_exception_ptr(Error("first", "no failure", "one")));
  transfers[1].end(std::make_exception_ptr(Error("second", "no failure", "one")));
  std::thread ender([last = transfers[2]] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    last.end();
  });
  try {
    wait_for_all(transfers);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.operation(), "first");
  }
  EXPECT_TRUE(transfers[2].has_ended());
  ender.join();
}

}  // namespace
}  // namespace stagecoach
