#include "comm/watch.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "comm/collectives.h"
#include "comm/pack.h"
#include "tests/forked/forked_world.h"

namespace stagecoach {
namespace {

using std::chrono::milliseconds;
using testing::run_forked;

WatchOptions quick_options() {
  WatchOptions options;
  options.peer_timeout = milliseconds(1000);
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

TEST(Watch, AFrozenProcessEndsTheOthersWithWords) {
  const auto body = [](World& world) {
    Packer packer;
    packer.put(::getpid());
    const std::vector<ByteVector> pids = all_gather(world, packer.bytes());
    const pid_t second = Unpacker(pids[1]).get<pid_t>();
    int said = 0;
    WatchOptions options = quick_options();
    options.say = [&](const std::string& words) {
      EXPECT_NE(words.find("got process 1 on "), std::string::npos) << words;
      EXPECT_NE(words.find("gives no sign of life; it was last at 17"), std::string::npos) << words;
      ++said;
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
    if (world.rank() == 0) {
      std::this_thread::sleep_for(milliseconds(300));  // so that the other has ended, too
      ::kill(second, SIGKILL);
    }
    // One of the two has said it: the exit status says which.
    if (!::testing::Test::HasFailure()) ::_exit(said);
  };
  std::vector<int> statuses = run_forked(3, body);
  EXPECT_EQ(statuses[1], 128 + SIGKILL);
  EXPECT_EQ(statuses[0] + statuses[2], 1);
}

TEST(Watch, WhoHasLeftIsNotMissed) {
  const auto body = [](World& world) {
    {
      Watch watch(world, quick_options());
      if (world.rank() == 0) std::this_thread::sleep_for(milliseconds(1800));
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
    options.last_resort = [] { ::_exit(7); };
    Watch watch(world, options);
    if (world.rank() == 1) {
      world.abort(std::make_exception_ptr(Error("a rank", "to go on", "an end")));
      ::_exit(1);
    }
    std::this_thread::sleep_for(std::chrono::seconds(20));
  };
  EXPECT_EQ(run_forked(2, body), (std::vector<int>{7, 1}));
}

}  // namespace
}  // namespace stagecoach
