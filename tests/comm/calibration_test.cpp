#include "comm/calibration.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "core/error.h"
#include "tests/forked/forked_world.h"

namespace stagecoach {
namespace {

using namespace std::chrono_literals;
using testing::run_forked;

// A clock that goes as the machine's, `ahead` of it.
std::function<Clock::time_point()> clock_ahead(Clock::duration ahead) {
  return [=] { return Clock::now() + ahead; };
}

// Whose messages take so long, at least.
class SlowWorld final : public World {
 public:
  SlowWorld(World& inner, std::function<Clock::duration(int, std::size_t)> delay)
      : inner_(inner), delay_(std::move(delay)) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  Transfer send(int to, int tag, std::span<const std::byte> bytes) override {
    std::this_thread::sleep_for(delay_(to, bytes.size()));
    return inner_.send(to, tag, bytes);
  }
  Transfer receive(int from, int tag, std::span<std::byte> bytes) override {
    return inner_.receive(from, tag, bytes);
  }
  void abort(const std::exception_ptr& error) noexcept override { inner_.abort(error); }
  bool is_aborted() const override { return inner_.is_aborted(); }

 private:
  World& inner_;
  const std::function<Clock::duration(int, std::size_t)> delay_;
};

std::vector<int> all_pass(int processes) {
  return std::vector<int>(static_cast<std::size_t>(processes));
}

TEST(Calibration, FindsHowFarClocksAreApart) {
  const auto body = [](World& world) {
    constexpr std::array<Clock::duration, 4> kAhead = {2s, 5s, 2s, -7250ms};
    constexpr std::array<const char*, 4> kMachines = {"a", "b", "a", "c"};
    const auto own = static_cast<std::size_t>(world.rank());
    const Calibration calibration(world, {clock_ahead(kAhead[own]), kMachines[own]});
    const Clock::duration error = kAhead[own] + calibration.offset() - kAhead[0];
    EXPECT_LE(std::chrono::abs(error), calibration.bound());
    EXPECT_GT(calibration.bound(), 0s);
    EXPECT_LE(calibration.bound(), Calibration::kWorstBound);
    EXPECT_EQ(calibration.machines(), 3);
    EXPECT_EQ(calibration.machine_of(0), 0);
    EXPECT_EQ(calibration.machine_of(1), 1);
    EXPECT_EQ(calibration.machine_of(2), 0);
    EXPECT_EQ(calibration.machine_of(3), 2);
    if (own == 0 || own == 2) {
      EXPECT_EQ(calibration.offset(), 0s);
    }
    const std::string text = calibration.to_text();
    EXPECT_TRUE(text.starts_with("clocks: 3 machines, offsets within ")) << text;
    EXPECT_NE(text.find(" ms; messages: "), std::string::npos) << text;
    EXPECT_NE(text.find("; messages between machines: "), std::string::npos) << text;
    EXPECT_TRUE(text.ends_with(" GB/s")) << text;
  };
  EXPECT_EQ(run_forked(4, body), all_pass(4));
}

TEST(Calibration, ProcessesOfOneMachineHaveOneClock) {
  const auto body = [](World& world) {
    const Calibration calibration(world);
    EXPECT_EQ(calibration.machines(), 1);
    EXPECT_EQ(calibration.offset(), 0s);
    EXPECT_EQ(calibration.bound(), 0s);
    const std::string text = calibration.to_text();
    EXPECT_TRUE(text.starts_with("messages: ")) << text;
    EXPECT_EQ(text.find(';'), std::string::npos) << text;
  };
  EXPECT_EQ(run_forked(3, body), all_pass(3));
}

TEST(Calibration, MeasuresMessagesWithinAndBetweenMachines) {
  const auto body = [](World& inner) {
    const auto is_between = [&](int to) { return to / 2 != inner.rank() / 2; };
    SlowWorld world(inner, [&](int to, std::size_t bytes) -> Clock::duration {
      return is_between(to) ? (bytes > 1000 ? 20ms : 3ms) : 0ms;
    });
    const Calibration calibration(world, {Clock::now, inner.rank() < 2 ? "a" : "b"});
    const LinkSpeed within = calibration.speed(std::array{2, 3}),
                    between = calibration.speed(std::array{0, 1, 2});
    EXPECT_GT(within.latency, 0);
    EXPECT_LT(within.latency, between.latency);
    EXPECT_GE(between.latency, 0.003);
    EXPECT_GT(between.bandwidth, 0);
    EXPECT_GT(within.bandwidth, between.bandwidth);
    // A long one takes 20 ms; of these the latency is no part of its bandwidth.
    EXPECT_GE(between.latency + (1 << 20) / between.bandwidth, 0.020 - 1e-9);
  };
  EXPECT_EQ(run_forked(4, body), all_pass(4));
}

TEST(Calibration, RefusesAMachineWhoseClockCannotBeKnown) {
  const auto body = [](World& world) {
    // In process 0, so much passes between any two looks at the clock.
    Clock::duration passed{};
    const auto clock = [&] { return Clock::now() + (passed += 24ms); };
    try {
      const Calibration calibration(world, {clock, world.rank() < 2 ? "a" : "b"});
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      const std::string text = error.what();
      for (const std::string& part :
           {fmt::format("from process 0 on {0} to process 2 on {0} and back within 20 ms",
                        host_name()),
            std::string("ms, the fastest of 30"),
            std::string("look at the network between them")}) {
        EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
      }
    }
  };
  EXPECT_EQ(run_forked(3, body), all_pass(3));
}

TEST(Calibration, IsRefreshedWhereItIsTimeAndNotMadeWorse) {
  const auto body = [](World& world) {
    const bool here = world.rank() == 0;
    Clock::duration ahead = here ? 0s : 3s, between_looks{}, passed{};
    CalibrationOptions options;
    options.clock = [&] { return Clock::now() + ahead + (passed += between_looks); };
    options.machine = here ? "a" : "b";
    options.clocks_last = 0ms;
    Calibration calibration(world, options);
    const auto expect_offset = [&](Clock::duration expected) {
      EXPECT_LE(std::chrono::abs(calibration.offset() - (here ? 0s : expected)),
                Calibration::kWorstBound);
    };
    expect_offset(-3s);
    if (!here) ahead = 4s;
    calibration.refresh();
    expect_offset(-4s);
    // Now it cannot be known.
    ahead = here ? 0s : 9s;
    if (here) between_looks = 30ms;
    calibration.refresh();
    expect_offset(-4s);
    options.clocks_last = 1h;
    between_looks = passed = {};
    Calibration lasting(world, options);
    if (!here) ahead = 1s;
    lasting.refresh();
    EXPECT_LE(std::chrono::abs(lasting.offset() - (here ? 0s : -9s)), Calibration::kWorstBound);
  };
  EXPECT_EQ(run_forked(2, body), all_pass(2));
}

TEST(Calibration, EndsWithTheErrorOfAnotherProcess) {
  const auto body = [](World& world) {
    if (world.rank() == 2) throw Error("a process", "to calibrate", "an end");
    const Calibration calibration(world, {Clock::now, std::to_string(world.rank())});
  };
  EXPECT_EQ(run_forked(3, body), std::vector<int>(3, 1));
}

}  // namespace
}  // namespace stagecoach
