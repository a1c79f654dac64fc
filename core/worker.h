// Worker: a thread that runs tasks one after another, in the order they were given.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace stagecoach {

class Worker {
 public:
  // Throws Error where the system has no thread for it.
  Worker();
  // Runs what was given before, then ends the thread.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Returns at once. A task must not throw.
  void enqueue(std::function<void()> task);
  // Blocks until every task given so far has run.
  void drain();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool busy_ = false;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace stagecoach
