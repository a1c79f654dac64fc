#include "core/stream.h"

#include "core/cuda/backend.h"
#include "core/error.h"
#include "core/event_state.h"
#include "core/worker.h"

namespace stagecoach {

void Event::State::reach(const std::exception_ptr& stream_error) {
  {
    std::lock_guard lock(mutex);
    reached = true;
    time = Clock::now();
    error = stream_error;
  }
  changed.notify_all();
}

void Event::State::set_mark(std::shared_ptr<DeviceMark> device_mark) {
  {
    std::lock_guard lock(mutex);
    mark = std::move(device_mark);
  }
  changed.notify_all();
}

std::shared_ptr<DeviceMark> Event::State::await_mark() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return reached || mark; });
  return mark;
}

std::exception_ptr Event::State::await() {
  const std::shared_ptr<DeviceMark> device_mark = await_mark();
  return device_mark ? device_mark->await() : error;
}

Event::Event() : state_(std::make_shared<State>()) {}

void Event::synchronize() const {
  if (std::exception_ptr error = state_->await()) std::rethrow_exception(error);
}

Clock::time_point Event::time() const {
  state_->await();
  return state_->mark ? state_->mark->time() : state_->time;
}

bool Event::reached() const {
  std::lock_guard lock(state_->mutex);
  return state_->reached || (state_->mark && state_->mark->reached());
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

  void record(Event& event, EventUse) override {
    enqueue_always([state = state_of(event)](std::exception_ptr& error) { state->reach(error); });
  }

  void wait(const Event& event) override {
    enqueue_always([state = state_of(event)](std::exception_ptr& error) {
      std::exception_ptr other = state->await();
      if (other && !error) error = other;
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

 private:
  // Enqueued work that runs on failed streams too and sees the stream's error (null for none).
  using Always = std::function<void(std::exception_ptr& error)>;
  void enqueue_always(Always task) {
    worker_.enqueue([this, task = std::move(task)] { task(error_); });
  }

  std::exception_ptr error_;  // the worker's while it runs, the caller's after drain()
  Worker worker_;
};

}  // namespace

std::unique_ptr<Stream> Stream::create(Device device) {
  if (device.type == DeviceType::kCuda) return cuda::create_stream(device);
  return std::make_unique<CpuStream>();
}

}  // namespace stagecoach
