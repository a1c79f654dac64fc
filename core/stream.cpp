#include "core/stream.h"

#include "core/device_backend.h"
#include "core/event_state.h"

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

double Event::seconds_since(const Event& earlier) const {
  synchronize();
  earlier.synchronize();
  const auto& mark = state_->mark;
  if (mark != nullptr) return mark->seconds_since(*earlier.state_->mark);
  return std::chrono::duration<double>(time() - earlier.time()).count();
}

bool Event::reached() const {
  std::lock_guard lock(state_->mutex);
  return state_->reached || (state_->mark && state_->mark->reached());
}

std::unique_ptr<Stream> Stream::create(Device device) {
  return device_backend(device).create_stream(device);
}

}  // namespace stagecoach
