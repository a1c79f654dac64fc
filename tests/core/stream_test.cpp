#include "core/stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/error.h"

namespace stagecoach {
namespace {

using std::chrono::milliseconds;

// The text of the error that `call` throws; empty for none.
template <typename Call>
std::string thrown(const Call& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

void fail() {
  throw std::runtime_error("broken");
}

TEST(Stream, RunsInOrderAndReturnsAtOnce) {
  const auto stream = Stream::create();
  EXPECT_EQ(stream->device(), Device());
  std::atomic<bool> go{false};
  std::vector<int> order;
  stream->enqueue([&go] {
    while (!go) std::this_thread::yield();
  });
  for (int i = 0; i < 100; ++i) stream->enqueue([&order, i] { order.push_back(i); });
  go = true;  // reached although the first task cannot have ended: enqueue did not wait
  stream->synchronize();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(Stream, RefusesAGpuThatIsNotThere) {
  EXPECT_THROW(Stream::create(Device{DeviceType::kCuda, 4095}), Error);
}

TEST(Stream, ForgottenTasksRunBeforeItEnds) {
  int runs = 0;
  {
    const auto stream = Stream::create();
    for (int i = 0; i < 50; ++i) stream->enqueue([&runs] { ++runs; });
  }
  EXPECT_EQ(runs, 50);
}

TEST(Stream, AFailedStreamThatIsForgottenEndsQuietly) {
  const auto stream = Stream::create();
  stream->enqueue(fail);
}

TEST(Event, OrdersTwoStreams) {
  const auto producer = Stream::create();
  const auto consumer = Stream::create();
  int value = 0;  // not atomic: the events are what keeps the streams apart
  for (int round = 1; round <= 200; ++round) {
    Event made, used;
    producer->enqueue([&value, round] { value = round; });
    producer->record(made);
    consumer->wait(made);
    int seen = 0;
    consumer->enqueue([&value, &seen] { seen = value; });
    consumer->record(used);
    producer->wait(used);
    consumer->synchronize();
    ASSERT_EQ(seen, round);
  }
}

TEST(Event, MayBeRecordedAfterTheWait) {
  const auto late = Stream::create();
  const auto waiting = Stream::create();
  Event event;
  std::atomic<int> value{0};
  int seen = -1;
  waiting->wait(event);
  waiting->enqueue([&] { seen = value; });
  std::thread other([&] {
    late->enqueue([&value] { value = 7; });
    late->record(event);
  });
  waiting->synchronize();
  other.join();
  EXPECT_EQ(seen, 7);
}

TEST(Event, CopiesAreTheSameMark) {
  const auto stream = Stream::create();
  Event event;
  const Event copy = event;
  int value = 0;
  stream->enqueue([&value] { value = 1; });
  stream->record(event);
  copy.synchronize();
  EXPECT_EQ(value, 1);
  EXPECT_EQ(copy.time(), event.time());
}

TEST(Event, SaysWhetherItIsReached) {
  const auto stream = Stream::create();
  Event held, failed;
  EXPECT_FALSE(held.reached());
  std::atomic<bool> go{false};
  stream->enqueue([&go] {
    while (!go) std::this_thread::yield();
  });
  stream->record(held);
  EXPECT_FALSE(held.reached());
  go = true;
  held.synchronize();
  EXPECT_TRUE(held.reached());
  stream->enqueue(fail);
  stream->record(failed);
  EXPECT_EQ(thrown([&] { stream->synchronize(); }), "broken");
  EXPECT_TRUE(failed.reached());  // and does not throw
}

TEST(Event, TimesLieAroundTheWork) {
  const auto stream = Stream::create();
  Event begin, end;
  const auto before = Clock::now();
  stream->record(begin);
  stream->enqueue([] { std::this_thread::sleep_for(milliseconds(20)); });
  stream->record(end);
  stream->synchronize();
  EXPECT_GE(begin.time(), before);
  EXPECT_GE(end.time() - begin.time(), milliseconds(20));
  EXPECT_LE(end.time(), Clock::now());
}

TEST(StreamErrors, SkipLaterTasksAndStayUntilReset) {
  const auto stream = Stream::create();
  bool skipped = true;
  stream->enqueue(fail);
  stream->enqueue([&skipped] { skipped = false; });
  EXPECT_EQ(thrown([&] { stream->synchronize(); }), "broken");
  EXPECT_EQ(thrown([&] { stream->synchronize(); }), "broken");
  EXPECT_TRUE(skipped);
  stream->reset();
  stream->enqueue([&skipped] { skipped = false; });
  EXPECT_EQ(thrown([&] { stream->synchronize(); }), "");
  EXPECT_FALSE(skipped);
}

TEST(StreamErrors, TheFirstOneCounts) {
  const auto stream = Stream::create();
  stream->enqueue(fail);
  stream->enqueue([] { throw std::runtime_error("second"); });
  EXPECT_EQ(thrown([&] { stream->synchronize(); }), "broken");
}

TEST(StreamErrors, MarksAreReachedAndCarryThem) {
  const auto stream = Stream::create();
  Event before, after;
  stream->record(before);
  stream->enqueue(fail);
  stream->record(after);
  EXPECT_EQ(thrown([&] { before.synchronize(); }), "");
  EXPECT_EQ(thrown([&] { after.synchronize(); }), "broken");
  EXPECT_GE(after.time(), before.time());  // does not throw
}

TEST(StreamErrors, TravelAlongAChainOfStreamsWithoutHanging) {
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(Stream::create());
  std::atomic<int> ran{0};
  // A ring of waits in both directions, as neighbouring stages have it; stream 1 fails first.
  streams[1]->enqueue(fail);
  for (int round = 0; round < 10; ++round) {
    for (std::size_t i = 0; i + 1 < streams.size(); ++i) {
      Event forward, backward;
      streams[i]->enqueue([&ran] { ++ran; });
      streams[i]->record(forward);
      streams[i + 1]->wait(forward);
      streams[i + 1]->record(backward);
      streams[i]->wait(backward);
    }
  }
  for (const auto& stream : streams) {
    EXPECT_EQ(thrown([&] { stream->synchronize(); }), "broken");
  }
  EXPECT_EQ(ran.load(), 1);  // stream 0's first task; everything else depends on stream 1
  for (const auto& stream : streams) stream->reset();
  Event again;
  streams[0]->enqueue([&ran] { ran = 100; });
  streams[0]->record(again);
  streams[3]->wait(again);
  EXPECT_EQ(thrown([&] { streams[3]->synchronize(); }), "");
  EXPECT_EQ(ran.load(), 100);
}

TEST(StreamErrors, AStreamKeepsItsOwnWhenItWaitsForAnother) {
  const auto first = Stream::create();
  const auto second = Stream::create();
  first->enqueue(fail);
  Event event;
  first->record(event);
  second->enqueue([] { throw std::runtime_error("own"); });
  second->wait(event);
  EXPECT_EQ(thrown([&] { second->synchronize(); }), "own");
}

}  // namespace
}  // namespace stagecoach
