#include "core/worker.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace stagecoach {
namespace {

TEST(Worker, RunsInOrderOnAThreadOfItsOwn) {
  Worker worker;
  std::vector<int> order;
  std::thread::id thread;
  for (int i = 0; i < 1000; ++i) {
    worker.enqueue([&, i] {
      order.push_back(i);
      thread = std::this_thread::get_id();
    });
  }
  worker.drain();
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(Worker, DrainsWhenThereIsNothing) {
  Worker worker;
  worker.drain();
  worker.drain();
}

TEST(Worker, RunsWhatIsLeftWhenItEnds) {
  int runs = 0;
  {
    Worker worker;
    for (int i = 0; i < 100; ++i) worker.enqueue([&runs] { ++runs; });
  }
  EXPECT_EQ(runs, 100);
}

TEST(Worker, ATaskMayEnqueueAnother) {
  std::vector<int> order;
  Worker worker;
  worker.enqueue([&] {
    order.push_back(1);
    worker.enqueue([&order] { order.push_back(2); });
  });
  worker.drain();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(Worker, LetsGoOfATasksCapturesBeforeDrainReturns) {
  Worker worker;
  auto held = std::make_shared<int>(1);
  for (int round = 0; round < 100; ++round) {
    worker.enqueue([held] {});
    worker.drain();
    ASSERT_EQ(held.use_count(), 1);
  }
}

}  // namespace
}  // namespace stagecoach
