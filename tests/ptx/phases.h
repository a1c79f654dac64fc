// Kernels whose threads wait for each other: each thread is a coroutine that stops at a barrier or
// a shuffle, and the block's threads run in phases, from one stop to the next.
#pragma once

#include <coroutine>
#include <exception>
#include <utility>

#include "tests/ptx/arithmetic.h"

namespace ptx {

enum class ShuffleKind { kBarrier, kIndex, kUp, kDown, kButterfly };

// What a lane gives to the others of its warp and asks of them: shfl.sync's operands.
struct Shuffle {
  ShuffleKind kind = ShuffleKind::kBarrier;
  u32 value = 0, lane = 0, clamp = 0;
  u32 members = 0xFFFFFFFF;
};

struct Wait {
  enum class For { kNothing, kBlock, kWarp };
  For what = For::kNothing;
  u32 barrier = 0;
  Shuffle shuffle;
  // What the shuffle gave: the value, and whether its lane was in range.
  u32 value = 0;
  bool in_range = false;
};

class Phases {
 public:
  struct promise_type {
    std::exception_ptr error;
    Phases get_return_object() {
      return Phases(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { error = std::current_exception(); }
  };

  Phases(Phases&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Phases& operator=(Phases&&) = delete;
  ~Phases() {
    if (handle_) handle_.destroy();
  }

  bool done() const { return handle_.done(); }
  // Runs to the next stop, or the end. Throws what the thread threw.
  void resume() {
    handle_.resume();
    if (handle_.promise().error) std::rethrow_exception(handle_.promise().error);
  }

 private:
  explicit Phases(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

struct WaitForBlock {
  Wait& wait;
  u32 barrier;
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<>) const {
    wait.what = Wait::For::kBlock;
    wait.barrier = barrier;
  }
  void await_resume() const {}
};

struct WaitForWarp {
  Wait& wait;
  Shuffle shuffle;
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<>) const {
    wait.what = Wait::For::kWarp;
    wait.shuffle = shuffle;
  }
  const Wait& await_resume() const { return wait; }
};

}  // namespace ptx
