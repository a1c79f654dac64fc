#include "comm/rendezvous.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "core/error.h"

namespace stagecoach {
namespace {

std::string wait_for(Rendezvous& ranks, const bool& flag) {
  std::string error;
  try {
    auto lock = ranks.lock();
    ranks.wait(lock, [&flag] { return flag; });
  } catch (const Error& thrown) {
    error = thrown.message();
  }
  ranks.leave();
  return error;
}

TEST(Rendezvous, WakesWhoWaits) {
  Rendezvous ranks;
  ranks.begin(2);
  bool flag = false;
  std::string error = "none yet";
  std::thread waiter([&] { error = wait_for(ranks, flag); });
  {
    const auto lock = ranks.lock();
    flag = true;
    ranks.notify();
  }
  waiter.join();
  EXPECT_EQ(error, "");
}

TEST(Rendezvous, NoticesThatAllWaitForEachOther) {
  Rendezvous ranks;
  ranks.begin(2);
  const bool never = false;
  std::string one, other;
  std::thread first([&] { one = wait_for(ranks, never); });
  std::thread second([&] { other = wait_for(ranks, never); });
  first.join();
  second.join();
  const std::string deadlock =
      "a step: expected an order in which every rank can go on, got a deadlock: all ranks wait for "
      "each other";
  EXPECT_EQ(one, deadlock);
  EXPECT_EQ(other, deadlock);
}

TEST(Rendezvous, NoticesThatTheLastOneToWakeAnybodyHasLeft) {
  Rendezvous ranks;
  ranks.begin(2);
  const bool never = false;
  std::string error;
  std::thread waiter([&] { error = wait_for(ranks, never); });
  ranks.leave();
  waiter.join();
  EXPECT_NE(error, "");
}

}  // namespace
}  // namespace stagecoach
