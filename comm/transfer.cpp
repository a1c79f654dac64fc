#include "comm/transfer.h"

#include <condition_variable>
#include <mutex>

namespace stagecoach {

struct Transfer::State {
  std::mutex mutex;
  std::condition_variable changed;
  bool ended = false;
  std::exception_ptr error;
};

Transfer::Transfer() : state_(std::make_shared<State>()) {}

void Transfer::wait() const {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->ended; });
  if (state_->error) std::rethrow_exception(state_->error);
}

bool Transfer::has_ended() const {
  const std::lock_guard lock(state_->mutex);
  return state_->ended;
}

void Transfer::end(const std::exception_ptr& error) const {
  {
    std::lock_guard lock(state_->mutex);
    if (state_->ended) return;
    state_->ended = true;
    state_->error = error;
  }
  state_->changed.notify_all();
}

void wait_for_all(const std::vector<Transfer>& transfers) {
  std::exception_ptr first;
  for (const Transfer& transfer : transfers) {
    try {
      transfer.wait();
    } catch (...) {
      if (!first) first = std::current_exception();
    }
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace stagecoach
