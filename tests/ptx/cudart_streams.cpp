// libcudart's calls about streams, events and graphs.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/ptx/devices.h"
#include "tests/ptx/faults.h"
#include "tests/ptx/graphs.h"
#include "tests/ptx/streams.h"

namespace ptx {
namespace {

thread_local std::vector<std::shared_ptr<Capture>> captures;

// Records the event behind the stream's work; in a graph, by each launch anew.
cudaError_t record(cudaEvent_t event, cudaStream_t stream) {
  if (stream->capture) {
    stream->capture->add(stream, "a record", {}, event);
    return fault_status();
  }
  const std::int64_t count = event->record();
  event->set_clock(stream->timeline.now());
  // Not by enqueue(): a fault must not keep those who wait for the event.
  stream->worker.enqueue([event, count] { event->reach(count); });
  return fault_status();
}

}  // namespace

bool refuse_in_capture() {
  for (const auto& capture : captures) capture->valid = false;
  return !captures.empty();
}

}  // namespace ptx

using ptx::refuse_in_capture;

extern "C" {

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return ptx::fault_status();
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (refuse_in_capture()) return cudaErrorStreamCaptureUnsupported;
  ptx::touch(ptx::current_device());
  *stream = new CUstream_st(ptx::current_device());
  return ptx::fault_status();
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return ptx::fault_status();
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream->capture) {
    stream->capture->valid = false;
    return cudaErrorStreamCaptureUnsupported;
  }
  stream->worker.drain();
  ptx::host_waits(stream->timeline.now());
  return ptx::fault_status();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st((flags & cudaEventDisableTiming) == 0);
  return cudaSuccess;
}
// Work may still refer to the event: as the driver, keep it until that has run.
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  static std::mutex mutex;
  static auto& graveyard = *new std::vector<std::unique_ptr<CUevent_st>>;
  std::lock_guard lock(mutex);
  graveyard.emplace_back(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  if (stream->device != ptx::current_device()) return cudaErrorInvalidResourceHandle;
  if (flags == cudaEventRecordExternal) {
    return stream->capture ? ptx::record(event, stream) : cudaErrorInvalidValue;
  }
  event->in_capture = stream->capture != nullptr;
  if (!event->in_capture) return ptx::record(event, stream);
  event->capture = stream->capture;
  event->behind = stream->capture->last[stream];
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->in_capture) {
    const std::shared_ptr<ptx::Capture> capture = event->capture.lock();
    if (!capture || (stream->capture && stream->capture != capture))
      return cudaErrorStreamCaptureIsolation;
    stream->capture = capture;
    capture->join(stream, event->behind);
    return cudaSuccess;
  }
  if (stream->capture) return cudaErrorStreamCaptureIsolation;
  std::int64_t count;
  {
    std::lock_guard lock(event->mutex);
    count = event->recorded;
  }
  stream->timeline.wait(event->clock());
  return ptx::enqueue(stream, "a wait", [=] { event->await(count); });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->in_capture || refuse_in_capture()) return cudaErrorStreamCaptureUnsupported;
  std::int64_t count;
  {
    std::lock_guard lock(event->mutex);
    count = event->recorded;
  }
  event->await(count);
  ptx::delay_wake();
  ptx::host_waits(event->clock());
  return ptx::fault_status();
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event->in_capture || refuse_in_capture()) return cudaErrorStreamCaptureUnsupported;
  if (ptx::fault_status() != cudaSuccess) return ptx::fault_status();
  {
    std::lock_guard lock(event->mutex);
    if (event->reached != event->recorded) return cudaErrorNotReady;
  }
  ptx::host_waits(event->clock());
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  std::scoped_lock lock(start->mutex, end->mutex);
  if (!start->timed || !end->timed || start->recorded == 0 || end->recorded == 0) {
    return cudaErrorInvalidResourceHandle;
  }
  if (start->reached != start->recorded || end->reached != end->recorded) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (mode != cudaStreamCaptureModeThreadLocal)
    return cudaErrorInvalidValue;  // others are not here
  if (stream->capture) return cudaErrorStreamCaptureUnsupported;
  stream->capture = std::make_shared<ptx::Capture>();
  stream->capture->origin = stream;
  stream->capture->last[stream];
  ptx::captures.push_back(stream->capture);
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = !stream->capture         ? cudaStreamCaptureStatusNone
            : stream->capture->valid ? cudaStreamCaptureStatusActive
                                     : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  const std::shared_ptr<ptx::Capture> capture = stream->capture;
  if (!capture || capture->origin != stream) return cudaErrorInvalidValue;
  if (stream->device != ptx::current_device()) return cudaErrorInvalidResourceHandle;
  for (const auto& [other, last] : capture->last) other->capture = nullptr;
  std::erase(ptx::captures, capture);
  if (!capture->valid) return cudaErrorStreamCaptureInvalidated;
  if (!capture->is_joined()) return cudaErrorStreamCaptureUnjoined;
  *graph = new CUgraph_st{capture->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new CUgraphExec_st(graph->nodes);
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  return ptx::fault_status();
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  ptx::delay_launch();
  if (stream->capture) return cudaErrorStreamCaptureUnsupported;  // a graph in a graph
  return ptx::enqueue(
      stream, "a graph",
      [executable, moments = executable->schedule(stream->timeline)] { executable->run(moments); });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

}  // extern "C"
