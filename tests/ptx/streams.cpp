#include "tests/ptx/streams.h"

#include <vector>

#include "tests/ptx/devices.h"
#include "tests/ptx/faults.h"
#include "tests/ptx/graphs.h"
#include "tests/ptx/memory.h"

namespace ptx {
namespace {

thread_local int working = kNoDevice;
thread_local SharedMoment moment_of_work;

std::mutex streams_mutex;
std::set<cudaStream_t>& streams() {
  static auto& all = *new std::set<cudaStream_t>;
  return all;
}

}  // namespace

cudaError_t enqueue(cudaStream_t stream, const std::string& name, Work work) {
  if (fault_status() != cudaSuccess) return fault_status();
  if (stream == nullptr || stream->device != current_device())
    return cudaErrorInvalidResourceHandle;
  if (stream->capture) {
    stream->capture->add(stream, name, std::move(work));
  } else {
    stream->worker.enqueue([device = stream->device, moment = stream->timeline.next(name),
                            work = std::move(work)] { perform(device, moment, work); });
  }
  return cudaSuccess;
}

void perform(int device, const SharedMoment& moment, const Work& work) {
  if (fault_status() != cudaSuccess) return;
  working = device;
  moment_of_work = moment;
  try {
    work();
    count_work();
  } catch (const Fault& fault) {
    report(fault);
  }
  working = kNoDevice;
}

int working_device() {
  return working;
}
const SharedMoment& working_moment() {
  return moment_of_work;
}

void drain(int device) {
  std::lock_guard lock(streams_mutex);
  for (cudaStream_t stream : streams()) {
    if (stream->device != device) continue;
    stream->worker.drain();
    host_waits(stream->timeline.now());
  }
}

}  // namespace ptx

CUstream_st::CUstream_st(int its_device) : device(its_device) {
  std::lock_guard lock(ptx::streams_mutex);
  ptx::streams().insert(this);
}

CUstream_st::~CUstream_st() {
  std::lock_guard lock(ptx::streams_mutex);
  ptx::streams().erase(this);
}

std::int64_t CUevent_st::record() {
  std::lock_guard lock(mutex);
  return ++recorded;
}

void CUevent_st::reach(std::int64_t count) {
  {
    std::lock_guard lock(mutex);
    reached = count;
    time = ptx::event_time();
  }
  changed.notify_all();
}

void CUevent_st::await(std::int64_t count) {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return reached >= count; });
}

void CUevent_st::set_clock(const ptx::Clock& clock) {
  std::lock_guard lock(mutex);
  clock_ = clock;
}

ptx::Clock CUevent_st::clock() {
  std::lock_guard lock(mutex);
  return clock_;
}
