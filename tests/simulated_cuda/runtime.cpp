#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/worker.h"
#include "tests/simulated_cuda/cuda_runtime.h"
#include "tests/simulated_cuda/graph.h"
#include "tests/simulated_cuda/tasks.h"

namespace simulated {
namespace {

using Clock = std::chrono::steady_clock;

int initial_device_count() {
  const char* text = std::getenv("SIMULATED_CUDA_DEVICES");
  return text == nullptr ? 2 : std::atoi(text);
}

std::atomic<int> device_count = initial_device_count();
std::atomic<std::size_t> memory_bytes = std::size_t{8} << 30;  // of each GPU
std::atomic<int> capability_major = 9, capability_minor = 0;
std::atomic<bool> kernels_have_code = true;
std::atomic<const char*> failing_call = "";
std::atomic<int> executables = 0;  // graphs
std::atomic<long> allocated = 0;   // pieces of GPU memory, ever
std::atomic<long> created = 0;     // streams, ever
std::atomic<long> staged = 0;      // copies
std::atomic<bool> peers_possible = true;
thread_local int current_device = 0;
thread_local int captures = 0;  // begun by this thread and not ended

// What was allocated, on which device; pinned memory of the host on -1.
struct Allocation {
  std::size_t bytes;
  int device;
};
std::mutex peers_mutex;
std::set<std::pair<int, int>> peers;  // with access, to whose memory

bool has_access(int device, int other) {
  std::lock_guard lock(peers_mutex);
  return device == other || peers.count({device, other}) == 1;
}

std::mutex allocations_mutex;
std::map<void*, Allocation> allocations;

std::size_t used_bytes(int device) {
  std::size_t sum = 0;
  for (const auto& [memory, allocation] : allocations) {
    if (allocation.device == device) sum += allocation.bytes;
  }
  return sum;
}

// Whether copies from and to it do not block: memory of a GPU, or pinned.
bool is_known(const void* address) {
  std::lock_guard lock(allocations_mutex);
  const auto* byte = static_cast<const char*>(address);
  const auto after = allocations.upper_bound(const_cast<void*>(address));
  if (after == allocations.begin()) return false;
  const auto& [memory, allocation] = *std::prev(after);
  return byte < static_cast<const char*>(memory) + allocation.bytes;
}

cudaError_t allocate(void** memory, std::size_t bytes, int device) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  std::lock_guard lock(allocations_mutex);
  if (device >= 0 && used_bytes(device) + bytes > memory_bytes) return cudaErrorMemoryAllocation;
  *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*memory, 0xA5, bytes);  // memory of a GPU is not zero
  allocations[*memory] = {bytes, device};
  return cudaSuccess;
}

cudaError_t deallocate(void* memory) {
  std::lock_guard lock(allocations_mutex);
  if (allocations.erase(memory) != 1) return cudaErrorInvalidValue;
  std::free(memory);
  return cudaSuccess;
}

}  // namespace

struct Stream {
  int device = 0;
  std::shared_ptr<Graph> capture;
  stagecoach::Worker worker;
};

struct Event {
  std::mutex mutex;
  std::condition_variable changed;
  std::int64_t recorded = 0, reached = 0;  // how often
  Clock::time_point time;
  bool timed = true;
  // Of the capture in which it was recorded last, if it was: what is before it.
  std::weak_ptr<Graph> capture;
  bool in_capture = false;
  Before before;
  int mark = -1;

  void reach(std::int64_t count) {
    {
      std::lock_guard lock(mutex);
      reached = count;
      time = Clock::now();
    }
    changed.notify_all();
  }
  void await(std::int64_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return reached >= count; });
  }
};

void set_device_count(int count) {
  device_count = count;
}
void set_memory_bytes(std::size_t bytes) {
  memory_bytes = bytes;
}
void set_compute_capability(int major, int minor, bool has_code) {
  capability_major = major;
  capability_minor = minor;
  kernels_have_code = has_code;
}
bool has_code() {
  return kernels_have_code;
}
void fail_next(const char* call) {
  failing_call = call;
}
int executable_graphs() {
  return executables;
}
long device_allocations() {
  return allocated;
}
long streams_created() {
  return created;
}
long staged_copies() {
  return staged;
}
void set_peers_possible(bool possible) {
  std::lock_guard lock(peers_mutex);
  peers_possible = possible;
  if (!possible) peers.clear();
}
// Whether this is the call that is to fail.
bool fails(const char* call) {
  const char* failing = failing_call;
  return std::strcmp(failing, call) == 0 && failing_call.compare_exchange_strong(failing, "");
}

cudaError_t enqueue(Stream* stream, std::function<void()> task) {
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;  // nothing on the default stream
  if (stream->device != current_device) return cudaErrorInvalidResourceHandle;
  if (stream->capture) {
    stream->capture->work[stream].push_back({std::move(task)});
    ++stream->capture->captured[stream];
  } else {
    stream->worker.enqueue(std::move(task));
  }
  return cudaSuccess;
}

long capture_of(const Stream* stream) {
  return stream->capture ? stream->capture->number : 0;
}

// Memory of a GPU is the heap's here.
const void* readable(const void* address, std::int64_t) {
  return address;
}
void* writable(void* address, std::int64_t) {
  return address;
}

}  // namespace simulated

using simulated::captures;
using simulated::current_device;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureUnjoined:
      return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorStreamCaptureIsolation:
      return "cudaErrorStreamCaptureIsolation";
    default:
      return "another error";
  }
}
const char* cudaGetErrorString(cudaError_t) {
  return "(simulated)";
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = simulated::device_count > 0 ? CUDART_VERSION : 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  if (simulated::device_count == 0) return cudaErrorInsufficientDriver;  // leaves `count` alone
  *count = simulated::device_count;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= simulated::device_count) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= simulated::device_count) return cudaErrorInvalidDevice;
  std::strcpy(properties->name, "Simulated GPU");
  properties->major = simulated::capability_major;
  properties->minor = simulated::capability_minor;
  properties->multiProcessorCount = 132;
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int other) {
  const int count = simulated::device_count;
  if (device < 0 || device >= count || other < 0 || other >= count) return cudaErrorInvalidDevice;
  *can = device != other && simulated::peers_possible ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int other, unsigned) {
  int can = 0;
  const cudaError_t status = cudaDeviceCanAccessPeer(&can, current_device, other);
  if (status != cudaSuccess) return status;
  if (can == 0) return cudaErrorPeerAccessUnsupported;
  std::lock_guard lock(simulated::peers_mutex);
  return simulated::peers.insert({current_device, other}).second
             ? cudaSuccess
             : cudaErrorPeerAccessAlreadyEnabled;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  std::lock_guard lock(simulated::allocations_mutex);
  *total = simulated::memory_bytes;
  *free = *total - std::min(*total, simulated::used_bytes(current_device));
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  ++simulated::allocated;
  return simulated::allocate(memory, bytes, current_device);
}
cudaError_t cudaFree(void* memory) {
  return simulated::deallocate(memory);
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return simulated::allocate(memory, bytes, -1);
}
cudaError_t cudaFreeHost(void* memory) {
  return simulated::deallocate(memory);
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  return simulated::enqueue(stream, [=] { std::memset(memory, value, bytes); });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  const bool blocks = !simulated::is_known(to) || !simulated::is_known(from);
  if (blocks && captures > 0) return cudaErrorStreamCaptureUnsupported;
  const cudaError_t status = simulated::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
  if (status == cudaSuccess && blocks) stream->worker.drain();
  return status;
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device,
                                std::size_t bytes, cudaStream_t stream) {
  if (!simulated::has_access(to_device, from_device) ||
      !simulated::has_access(from_device, to_device)) {
    ++simulated::staged;
  }
  return simulated::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  ++simulated::created;
  *stream = new simulated::Stream;
  (*stream)->device = current_device;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream->capture) return cudaErrorStreamCaptureUnsupported;
  stream->worker.drain();
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new simulated::Event;
  (*event)->timed = flags != cudaEventDisableTiming;
  return cudaSuccess;
}
// Tasks that are enqueued may still refer to the event: as the driver, keep it until they have run.
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  static std::mutex mutex;
  static auto& graveyard = *new std::vector<std::unique_ptr<simulated::Event>>;
  std::lock_guard lock(mutex);
  graveyard.emplace_back(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  if (flags == cudaEventRecordExternal) {
    if (!stream->capture) return cudaErrorInvalidValue;
    // Recorded anew by every launch.
    return simulated::enqueue(stream, [event] {
      std::int64_t count;
      {
        std::lock_guard lock(event->mutex);
        count = ++event->recorded;
      }
      event->reach(count);
    });
  }
  event->in_capture = stream->capture != nullptr;
  if (event->in_capture) {
    event->capture = stream->capture;
    event->before = stream->capture->before[stream];
    event->before[stream] = stream->capture->captured[stream];
    event->mark = stream->capture->marks++;
    stream->capture->work[stream].push_back({{}, event->mark, -1});
    return stream->device == current_device ? cudaSuccess : cudaErrorInvalidResourceHandle;
  }
  std::int64_t count;
  {
    std::lock_guard lock(event->mutex);
    count = ++event->recorded;
  }
  return simulated::enqueue(stream, [=] { event->reach(count); });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->in_capture) {
    const std::shared_ptr<simulated::Graph> graph = event->capture.lock();
    if (!graph || (stream->capture && stream->capture != graph)) {
      return cudaErrorStreamCaptureIsolation;
    }
    stream->capture = graph;
    graph->captured[stream];
    graph->work[stream].push_back({{}, -1, event->mark});
    for (const auto& [other, count] : event->before) {
      int& before = graph->before[stream][other];
      before = std::max(before, count);
    }
    return cudaSuccess;
  }
  if (stream->capture) return cudaErrorStreamCaptureIsolation;
  std::int64_t count;
  {
    std::lock_guard lock(event->mutex);
    count = event->recorded;
  }
  return simulated::enqueue(stream, [=] { event->await(count); });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (captures > 0 || event->in_capture) return cudaErrorStreamCaptureUnsupported;
  std::int64_t count;
  {
    std::lock_guard lock(event->mutex);
    count = event->recorded;
  }
  event->await(count);
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (captures > 0 || event->in_capture) return cudaErrorStreamCaptureUnsupported;
  if (simulated::fails("cudaEventQuery")) return cudaErrorLaunchFailure;
  std::lock_guard lock(event->mutex);
  return event->reached == event->recorded ? cudaSuccess : cudaErrorNotReady;
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

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream->capture) return cudaErrorStreamCaptureUnsupported;
  stream->capture = std::make_shared<simulated::Graph>();
  static std::atomic<long> number = 0;
  stream->capture->origin = stream;
  stream->capture->number = ++number;
  ++captures;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::shared_ptr<simulated::Graph> captured = stream->capture;
  *graph = nullptr;
  if (!captured || captured->origin != stream) return cudaErrorInvalidValue;
  if (stream->device != current_device) return cudaErrorInvalidResourceHandle;
  --captures;
  bool joined = true;
  for (const auto& [other, count] : captured->captured) {
    if (other != stream && captured->before[stream][other] < count) joined = false;
    other->capture = nullptr;
  }
  stream->capture = nullptr;
  if (!joined) return cudaErrorStreamCaptureUnjoined;
  *graph = new simulated::Graph(*captured);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new simulated::Executable(*graph);
  ++simulated::executables;
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  return simulated::fails("cudaGraphUpload") ? cudaErrorLaunchFailure : cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return simulated::enqueue(stream, [executable] { executable->launch(); });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  --simulated::executables;
  return cudaSuccess;
}
