// What is ordered before what, by streams, events and waits of the host: vector clocks. They are
// known when work is enqueued, so that they do not depend on what happens to run first.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ptx {

// How far each timeline has come.
class Clock {
 public:
  void join(const Clock& other);
  std::uint64_t of(int timeline) const;
  void set(int timeline, std::uint64_t time);

 private:
  std::vector<std::uint64_t> times_;
};

// A piece of work: its place on its timeline, and what is ordered before it.
struct Moment {
  Clock clock;
  int timeline = 0;
  std::uint64_t time = 0;
  std::string name;  // of the work

  bool is_after(const Moment& other) const { return clock.of(other.timeline) >= other.time; }
};

// Of a stream, or of the nodes of a graph that were captured from one.
class Timeline {
 public:
  Timeline();
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  // The next work, behind all before it and behind what the host has waited for.
  std::shared_ptr<const Moment> next(const std::string& name);
  void wait(const Clock& clock);
  Clock now() const;

 private:
  int number_;
  Clock clock_;
};

// The host waits for what this clock says. Its threads count as one.
void host_waits(const Clock& clock);

}  // namespace ptx
