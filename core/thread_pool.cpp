#include "core/thread_pool.h"

#include "core/error.h"
#include "core/thread.h"

namespace stagecoach {

ThreadPool::ThreadPool(int threads) {
  STAGECOACH_CHECK(threads >= 1, "ThreadPool", "at least 1 thread", fmt::format("{}", threads));
  try {
    for (int i = 1; i < threads; ++i) workers_.push_back(start_thread([this, i] { work(i); }));
  } catch (...) {
    stop();  // those that were started would wait for ever
    throw;
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::parallel_for(std::int64_t tasks, const Task& task) {
  if (workers_.empty() || tasks <= 1) {
    for (std::int64_t i = 0; i < tasks; ++i) task(i, 0);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    task_ = &task;
    tasks_ = tasks;
    next_ = 0;
    working_ = static_cast<int>(workers_.size());
    error_ = nullptr;
    ++generation_;
  }
  start_.notify_all();
  take_tasks(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return working_ == 0; });
  task_ = nullptr;
  if (error_) std::rethrow_exception(error_);
}

void ThreadPool::work(int thread) {
  std::int64_t seen = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
    }
    take_tasks(thread);
    bool last = false;
    {
      std::lock_guard lock(mutex_);
      last = --working_ == 0;
    }
    if (last) done_.notify_one();
  }
}

void ThreadPool::take_tasks(int thread) {
  while (true) {
    std::int64_t index = 0;
    {
      std::lock_guard lock(mutex_);
      if (next_ >= tasks_) return;
      index = next_++;
    }
    try {
      (*task_)(index, thread);
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      next_ = tasks_;  // the rest would be thrown away
    }
  }
}

}  // namespace stagecoach
