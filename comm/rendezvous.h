// Rendezvous: where the threads of one pipeline wait for each other. One lock for all of them, so
// that it can be seen when nobody is left who could wake anybody.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

namespace stagecoach {

class Rendezvous {
 public:
  // From now on `threads` may wait, and wake others. 0: unknown, and a deadlock is not noticed.
  void begin(int threads);
  // One of them has ended.
  void leave();

  // Held by whoever reads or changes what others wait for.
  std::unique_lock<std::mutex> lock() const { return std::unique_lock(mutex_); }
  // After such a change.
  void notify() { changed_.notify_all(); }
  // Waits until `ready`; call with the lock held. Error when all threads wait and none can go on.
  void wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& ready);

 private:
  bool deadlocked() const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int threads_ = 0;
  std::vector<const std::function<bool()>*> waiting_;
};

}  // namespace stagecoach
