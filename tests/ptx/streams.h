// Streams and events: a stream is a thread that does its work in order, so what lacks an event
// between two streams happens in any order.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>

#include "core/worker.h"
#include "tests/ptx/order.h"

namespace ptx {

struct Capture;

// Work of a GPU; it throws Fault where it must not go on.
using Work = std::function<void()>;

// Adds work, which `name` says in errors, to the stream or to the graph that it captures.
// cudaErrorInvalidResourceHandle for the default stream, and where the stream's GPU is not the
// current one.
cudaError_t enqueue(cudaStream_t stream, const std::string& name, Work work);

// Does work as the GPU's, unless it has a fault.
using SharedMoment = std::shared_ptr<const Moment>;
void perform(int device, const SharedMoment& moment, const Work& work);
// The GPU whose work the calling thread does, and the work's place among all.
int working_device();
const SharedMoment& working_moment();

// Waits until all streams of the GPU are idle.
void drain(int device);

}  // namespace ptx

struct CUstream_st {
  explicit CUstream_st(int its_device);
  ~CUstream_st();

  const int device;
  std::shared_ptr<ptx::Capture> capture;
  ptx::Timeline timeline;
  stagecoach::Worker worker;
};

struct CUevent_st {
  explicit CUevent_st(bool has_time) : timed(has_time) {}

  // The next count of being recorded.
  std::int64_t record();
  void reach(std::int64_t count);
  void await(std::int64_t count);

  // What is before it where it was recorded last.
  void set_clock(const ptx::Clock& clock);
  ptx::Clock clock();

  const bool timed;
  std::mutex mutex;
  std::condition_variable changed;
  std::int64_t recorded = 0, reached = 0;  // how often
  std::chrono::steady_clock::time_point time;
  // Of the capture in which it was recorded last, if it was: the nodes that it stands behind.
  bool in_capture = false;
  std::weak_ptr<ptx::Capture> capture;
  std::set<int> behind;

 private:
  ptx::Clock clock_;
};
