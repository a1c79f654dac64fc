#include "core/cpu_stream.h"

#include "core/event_state.h"
#include "core/worker.h"

namespace stagecoach {
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

std::unique_ptr<Stream> create_cpu_stream() {
  return std::make_unique<CpuStream>();
}

}  // namespace stagecoach
