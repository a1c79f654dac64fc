#include "comm/rendezvous.h"

#include <algorithm>

#include "core/error.h"

namespace stagecoach {

void Rendezvous::begin(int threads) {
  std::lock_guard lock(mutex_);
  threads_ = threads;
}

void Rendezvous::leave() {
  std::lock_guard lock(mutex_);
  if (threads_ > 0) --threads_;
  changed_.notify_all();
}

bool Rendezvous::deadlocked() const {
  return static_cast<int>(waiting_.size()) == threads_ &&
         std::ranges::none_of(waiting_, [](const auto* ready) { return (*ready)(); });
}

void Rendezvous::wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& ready) {
  waiting_.push_back(&ready);
  bool stuck = false;
  while (!ready() && !stuck) {
    stuck = deadlocked();
    if (!stuck) changed_.wait(lock);
  }
  std::erase(waiting_, &ready);
  if (!stuck) return;
  // This one ends with an error, and is then no longer there to wake the others.
  throw Error("a step", "an order in which every rank can go on",
              "a deadlock: all ranks wait for each other");
}

}  // namespace stagecoach
