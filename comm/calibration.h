// Calibration: what the processes of a job measure of each other by messages there and back: how
// far the clocks of their machines are apart, and how fast messages are.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/launched_process.h"
#include "comm/world.h"
#include "core/stream.h"

namespace stagecoach {

// A message of n bytes arrives latency + n / bandwidth after it was sent.
struct LinkSpeed {
  double latency = 0;    // seconds
  double bandwidth = 0;  // bytes per second; 0: unlimited
};
std::string to_text(const LinkSpeed& speed);  // "9 us, 6.8 GB/s"

struct CalibrationOptions {
  std::function<Clock::time_point()> clock = Clock::now;  // of this process
  // Processes whose texts are the same have one clock.
  std::string machine = machine_name();
  // After which refresh() measures the clocks anew: what two quartzes of 20 ppm part in the
  // meantime is 1.2 ms.
  std::chrono::milliseconds clocks_last{30'000};
};

class Calibration {
 public:
  // A clock may be wrong by so much: about what F takes of a small micro-batch. A trace that is
  // further off puts actions beside others than they ran beside.
  static constexpr std::chrono::milliseconds kWorstBound{10};

  // Collective, and short: some milliseconds, and a millisecond for each machine but the first. Two
  // processes of one machine, and two of different ones, stand for all when speeds are measured.
  // Throws Error, in all processes with the same words, where a machine's clock cannot be known to
  // kWorstBound. `world` outlives it.
  explicit Calibration(World& world, CalibrationOptions options = {});

  // Between two steps: measures the clocks of several machines anew where it is time, as they
  // drift; keeps what it had where that was known better than kWorstBound and now is not.
  // Collective.
  void refresh();

  int machines() const { return static_cast<int>(leaders_.size()); }
  int machine_of(int process) const { return machine_of_[static_cast<std::size_t>(process)]; }
  // To add to a time of this process's clock, for the same moment's on that of process 0; 0 on the
  // machine of process 0. Wrong by at most bound(), of all machines.
  Clock::duration offset() const { return offset_; }
  Clock::duration bound() const { return bound_; }
  // Of messages between these processes: between machines, where they are on several.
  LinkSpeed speed(std::span<const int> processes) const;

  // "clocks: 2 machines, offsets within 0.03 ms; messages: 9 us, 6.8 GB/s".
  std::string to_text() const;

 private:
  struct Reading {
    Clock::duration offset{}, round_trip = Clock::duration::max();
    int exchanges = 0;
  };

  void find_machines();
  void measure_speeds();
  LinkSpeed measured_between(int first, int second) const;
  std::vector<Reading> read_clocks() const;
  Reading read_clock_of(int leader) const;
  void answer() const;
  void check(const std::vector<Reading>& readings) const;
  void take(const std::vector<Reading>& readings);

  World& world_;
  const CalibrationOptions options_;
  std::vector<int> machine_of_;     // by process
  std::vector<int> leaders_;        // by machine: its first process
  std::vector<std::string> hosts_;  // by machine
  Clock::duration offset_{}, bound_{};
  Clock::time_point read_at_;  // in process 0, when the clocks were
  // Between two processes of one machine, and of different ones; none: there are no two.
  std::optional<LinkSpeed> within_, between_;
};

}  // namespace stagecoach
