#include "comm/watch.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "comm/collectives.h"
#include "comm/message.h"
#include "tests/forked/forked_world.h"

namespace stagecoach {
namespace {

using std::chrono::milliseconds;
using testing::run_forked;

// On a machine that is busy, a process may get no time for a second.
constexpr milliseconds kTimeout(2000), kLonger(3500);

WatchOptions quick_options() {
  WatchOptions options;
  options.peer_timeout = kTimeout;
  options.describe = [](std::uint64_t activity) { return "at " + std::to_string(activity); };
  return options;
}

// Waits for a message that never comes: the error that ends it.
std::string end_of_waiting(World& world, int from) {
  std::byte nothing{};
  try {
    world.receive(from, tag_of(MessageKind::kActivation), {&nothing, 1}).wait();
  } catch (const Error& error) {
    return error.message();
  }
  return "it came";
}

TEST(Watch, AFrozenProcessEndsTheOthersWithWordsAndIsKilled) {
  // Of all processes: how often it was said.
  auto* const said = new (::mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0)) std::atomic<int>(0);
  const auto body = [said](World& world) {
    WatchOptions options = quick_options();
    options.say = [&](const std::string& words) {
      EXPECT_NE(words.find("got process 1 on "), std::string::npos) << words;
      EXPECT_NE(words.find("gives no sign of life; it was last at 17"), std::string::npos) << words;
      ++*said;
    };
    Watch watch(world, options);
    if (world.rank() == 1) {
      watch.set_activity(17);
      barrier(world);
      ::raise(SIGSTOP);
      return;
    }
    barrier(world);
    const std::string words = end_of_waiting(world, 1);
    EXPECT_NE(words.find("got process 1 on "), std::string::npos) << words;
  };
  EXPECT_EQ(run_forked(3, body), (std::vector<int>{0, 128 + SIGKILL, 0}));
  EXPECT_EQ(*said, 1);
  ::munmap(said, sizeof(std::atomic<int>));
}

TEST(Watch, WhoHasLeftIsNotMissed) {
  const auto body = [](World& world) {
    {
      Watch watch(world, quick_options());
      if (world.rank() == 0) std::this_thread::sleep_for(kLonger);
    }
    barrier(world);
    EXPECT_FALSE(world.is_aborted());
  };
  EXPECT_EQ(run_forked(2, body), (std::vector<int>{0, 0}));
}

// A process that does not notice the end of the job is ended.
TEST(Watch, TheLastResortEndsAProcess) {
  const auto body = [](World& world) {
    WatchOptions options = quick_options();
    options.last_resort = [] { ::kill(::getpid(), SIGKILL); };
    Watch watch(world, options);
    if (world.rank() == 1) {
      return world.abort(std::make_exception_ptr(Error("a rank", "to go on", "an end")));
    }
    std::this_thread::sleep_for(std::chrono::seconds(20));
  };
  EXPECT_EQ(run_forked(2, body), (std::vector<int>{128 + SIGKILL, 0}));
}

// Its own watch ends the job, the last resort the process.
TEST(Watch, AProcessThatComputesForEverEndsTheOthersWithWords) {
  const auto body = [](World& world) {
    WatchOptions options = quick_options();
    options.say = [&](const std::string& words) {
      EXPECT_EQ(world.rank(), 1);
      EXPECT_NE(words.find("got process 1 on "), std::string::npos) << words;
      EXPECT_NE(words.find("has computed for "), std::string::npos) << words;
      EXPECT_NE(words.find("it was last at 17"), std::string::npos) << words;
    };
    options.last_resort = [] { testing::end_process(::testing::Test::HasFailure() ? 1 : 3); };
    Watch watch(world, options);
    { const Watch::Step first(&watch); }
    barrier(world);
    if (world.rank() == 1) {
      const Watch::Step second(&watch);
      watch.set_activity(17);
      for (std::atomic<bool> goes_on = true; goes_on;) {
      }
    }
    const std::string words = end_of_waiting(world, 1);
    EXPECT_NE(words.find("got process 1 on "), std::string::npos) << words;
  };
  EXPECT_EQ(run_forked(3, body), (std::vector<int>{0, 3, 0}));
}

// Process by process: in its first step, after a long one, waiting, going on slowly, between steps.
TEST(Watch, WhatMayTakeLongIsNoEndlessComputation) {
  const auto body = [](World& world) {
    {
      Watch watch(world, quick_options());
      if (world.rank() > 0) {
        const Watch::Step first(&watch);
        if (world.rank() == 1) std::this_thread::sleep_for(kLonger);
      }
      {
        const Watch::Step step(&watch);
        watch.set_waiting(world.rank() == 2);
        for (int part = 0; part < 4; ++part) {
          if (world.rank() == 3) watch.set_activity(17);
          if (world.rank() < 4) std::this_thread::sleep_for(kLonger / 4);
        }
      }
      std::this_thread::sleep_for(world.rank() == 4 ? kLonger : milliseconds(0));
    }
    barrier(world);
    EXPECT_FALSE(world.is_aborted());
  };
  EXPECT_EQ(run_forked(5, body), (std::vector<int>{0, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace stagecoach
