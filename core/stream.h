// Stream and Event: asynchronous in-order execution, for every kind of device.
//
// A CPU stream is a real queue with a thread of its own, so the order that callers build from
// events is the same code on CPU and GPU, and a forgotten wait is a data race that
// ThreadSanitizer finds.
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
  // When the stream reached the mark. Blocks like synchronize(), but does not throw.
  Clock::time_point time() const;
  // Whether the mark is reached already. Does not block or throw.
  bool reached() const;

  struct State;

 private:
  friend class Stream;
  std::shared_ptr<State> state_;
};

class Stream {
 public:
  // A new stream on `device`; throws Error when this build has no backend for it.
  static std::unique_ptr<Stream> create(Device device = {});
  virtual ~Stream() = default;

  virtual Device device() const = 0;

  // CPU streams: runs `task` after everything enqueued before; returns at once. An exception of a
  // task makes the stream fail: later tasks are skipped, marks are still reached.
  virtual void enqueue(std::function<void()> task) = 0;

  // Marks this point of the stream. One event is recorded once.
  void record(Event& event);
  // What is enqueued after this runs only when the event's mark is reached. The event may be
  // recorded later, by another thread.
  void wait(const Event& event);
  // Blocks the caller until everything enqueued has run; throws the first error. The error stays
  // with the stream until reset().
  virtual void synchronize() = 0;
  // Forgets the error of a failed stream, after everything enqueued has run.
  virtual void reset() = 0;

 protected:
  // Enqueued work that runs on failed streams too and sees the stream's error (null for none).
  using Always = std::function<void(std::exception_ptr& error)>;
  virtual void enqueue_always(Always task) = 0;
};

}  // namespace stagecoach
