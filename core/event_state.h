// What an Event refers to; for the streams, which are the only ones to include this.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "core/stream.h"

namespace stagecoach {

// A mark in the stream of a GPU. May be asked from any thread.
class DeviceMark {
 public:
  virtual ~DeviceMark() = default;
  // Blocks until the mark is reached; the error of the device, or null.
  virtual std::exception_ptr await() = 0;
  virtual Clock::time_point time() = 0;                   // after await()
  virtual double seconds_since(DeviceMark& earlier) = 0;  // of the same kind; after await()
  virtual bool reached() = 0;
};

// Recorded on a CPU stream, an event is reached when that stream says so. Recorded on a GPU's, it
// has a mark from then on, and the mark knows.
struct Event::State {
  std::mutex mutex;
  std::condition_variable changed;
  bool reached = false;
  Clock::time_point time;
  std::exception_ptr error;
  std::shared_ptr<DeviceMark> mark;

  void reach(const std::exception_ptr& stream_error);
  void set_mark(std::shared_ptr<DeviceMark> device_mark);
  // Blocks until the event has a mark, or is reached: then null.
  std::shared_ptr<DeviceMark> await_mark();
  // Blocks until the event is reached.
  std::exception_ptr await();
};

}  // namespace stagecoach
