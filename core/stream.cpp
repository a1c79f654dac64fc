#include "core/stream.h"

#include <condition_variable>
#include <mutex>

#include "core/error.h"
#include "core/worker.h"

namespace stagecoach {

struct Event::State {
  std::mutex mutex;
  std::condition_variable reached_changed;
  bool reached = false;
  Clock::time_point time;
  std::exception_ptr error;

  void reach(const std::exception_ptr& stream_error) {
    {
      std::lock_guard lock(mutex);
      reached = true;
      time = Clock::now();
      error = stream_error;
    }
    reached_changed.notify_all();
  }
  std::exception_ptr await() {
    std::unique_lock lock(mutex);
    reached_changed.wait(lock, [this] { return reached; });
    return error;
  }
};

Event::Event() : state_(std::make_shared<State>()) {}

void Event::synchronize() const {
  if (std::exception_ptr error = state_->await()) std::rethrow_exception(error);
}

Clock::time_point Event::time() const {
  state_->await();
  return state_->time;
}

bool Event::reached() const {
  std::lock_guard lock(state_->mutex);
  return state_->reached;
}

void Stream::record(Event& event) {
  enqueue_always([state = event.state_](std::exception_ptr& error) { state->reach(error); });
}

void Stream::wait(const Event& event) {
  enqueue_always([state = event.state_](std::exception_ptr& error) {
    std::exception_ptr other = state->await();
    if (other && !error) error = other;
  });
}

namespace {

class CpuStream : public Stream {
 public:
  Device device() const override { return {}; }

  void enqueue(std::function<void()> task) override {
    worker_.enqueue([this, task = std::move(task)] {
      if (error_) return;
      try {
        task();
      } catch (...) {
        error_ = std::current_exception();
      }
    });
  }

  void synchronize() override {
    worker_.drain();
    if (error_) std::rethrow_exception(error_);
  }

  void reset() override {
    worker_.drain();
    error_ = nullptr;
  }

 protected:
  void enqueue_always(Always task) override {
    worker_.enqueue([this, task = std::move(task)] { task(error_); });
  }

 private:
  std::exception_ptr error_;  // the worker's while it runs, the caller's after drain()
  Worker worker_;
};

}  // namespace

std::unique_ptr<Stream> Stream::create(Device device) {
  STAGECOACH_CHECK(device.type == DeviceType::kCpu, "Stream", "device cpu", device.to_string(),
                   "this build has no CUDA backend");
  return std::make_unique<CpuStream>();
}

}  // namespace stagecoach
