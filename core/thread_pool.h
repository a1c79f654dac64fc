// ThreadPool: the compute threads of one stage.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace stagecoach {

// Runs numbered tasks on `threads` threads, the caller's among them. Which thread runs a task is
// not fixed, so a result has the same bits for any number of threads exactly when the *tasks* do
// not depend on it: callers cut work by the problem's size, never by `threads()`.
class ThreadPool {
 public:
  // `threads` >= 1; threads - 1 are started. Throws Error otherwise, and where that fails.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(index, thread) for every index in [0, tasks), thread in [0, threads()); returns
  // when all are done. The first exception of a task is thrown after that. Not reentrant, and for
  // one caller at a time.
  using Task = std::function<void(std::int64_t index, int thread)>;
  void parallel_for(std::int64_t tasks, const Task& task);

 private:
  void stop();
  void work(int thread);
  void take_tasks(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  const Task* task_ = nullptr;
  std::int64_t tasks_ = 0;
  std::int64_t next_ = 0;
  std::int64_t generation_ = 0;
  int working_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
};

// parallel_for over [0, count) in pieces of `grain` elements: body(begin, end, thread).
template <typename Body>
void parallel_ranges(ThreadPool& pool, std::int64_t count, std::int64_t grain, const Body& body) {
  const std::int64_t pieces = (count + grain - 1) / grain;
  pool.parallel_for(pieces, [&](std::int64_t i, int thread) {
    const std::int64_t begin = i * grain;
    body(begin, begin + grain < count ? begin + grain : count, thread);
  });
}

}  // namespace stagecoach
