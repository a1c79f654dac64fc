// Stream and Event: asynchronous in-order execution, for every kind of device.
//
// A CPU stream is a real queue with a thread of its own, so the order that callers build from
// events is the same code on CPU and GPU, and a forgotten wait is a data race that
// ThreadSanitizer finds. A GPU's stream is the driver's: operations launch kernels on it.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <memory>

#include "core/device.h"

namespace stagecoach {

using Clock = std::chrono::steady_clock;

class Stream;

// A mark in a stream. Cheap to copy: copies are the same mark. Errors travel along events: a
// stream that waits for a mark of a failed stream fails with the same error.
class Event {
 public:
  Event();
  // Blocks the caller until the mark is reached; throws the error of the stream, if it failed.
  // The event must have been recorded.
  void synchronize() const;
  // When the stream reached the mark. Blocks like synchronize(), but does not throw. Of a GPU's
  // stream by its clock as it was last read: see DeviceBackend::read_clock().
  Clock::time_point time() const;
  // Seconds from an earlier mark of a stream of the same device to this one, by the device's own
  // clock. Blocks; throws Error when there is no such time.
  double seconds_since(const Event& earlier) const;
  // Whether the mark is reached already, or can no longer be, as its stream has failed. Does not
  // block or throw.
  bool reached() const;

  struct State;

 private:
  friend class Stream;
  std::shared_ptr<State> state_;
};

// What an event is for. On a GPU, one that only orders streams is cheaper, and in a captured graph
// only one that takes the time can be read after a launch.
enum class EventUse { kOrder, kTime };

class Stream {
 public:
  // A new stream on `device`; throws Error when this build has no backend for it, or the machine
  // no such device.
  static std::unique_ptr<Stream> create(Device device = {});
  virtual ~Stream() = default;

  virtual Device device() const = 0;

  // CPU streams: runs `task` after everything enqueued before; returns at once. An exception of a
  // task makes the stream fail: later tasks are skipped, marks are still reached. Throws Error on
  // the stream of a GPU, which runs kernels only.
  virtual void enqueue(std::function<void()> task) = 0;

  // Marks this point of the stream. One event is recorded once.
  virtual void record(Event& event, EventUse use = EventUse::kOrder) = 0;
  // What is enqueued after this runs only when the event's mark is reached. The event may be
  // recorded later, by another thread; a GPU's stream then blocks the caller until it is.
  virtual void wait(const Event& event) = 0;
  // Blocks the caller until everything enqueued has run; throws the first error. The error stays
  // with the stream until reset().
  virtual void synchronize() = 0;
  // Forgets the error of a failed stream, after everything enqueued has run.
  virtual void reset() = 0;

 protected:
  static const std::shared_ptr<Event::State>& state_of(const Event& event) { return event.state_; }
};

}  // namespace stagecoach
