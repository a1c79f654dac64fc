// Streams, events and graphs of a GPU.
#include <map>
#include <mutex>
#include <type_traits>

#include "core/cuda/device.h"
#include "core/cuda/runtime.h"
#include "core/error.h"
#include "core/event_state.h"

namespace stagecoach::cuda {
namespace {

// Owns an event of the driver.
class NativeEvent {
 public:
  NativeEvent(Device device, unsigned flags) : device_(device) {
    use(device);
    STAGECOACH_CUDA_CHECK(cudaEventCreateWithFlags(&event_, flags));
  }
  ~NativeEvent() {
    cudaEventDestroy(event_);
    cudaGetLastError();
  }
  NativeEvent(const NativeEvent&) = delete;
  NativeEvent& operator=(const NativeEvent&) = delete;
  cudaEvent_t get() const { return event_; }
  Device device() const { return device_; }

 private:
  Device device_;
  cudaEvent_t event_ = nullptr;
};

double milliseconds_between(const NativeEvent& earlier, const NativeEvent& later) {
  float milliseconds = 0;
  STAGECOACH_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, earlier.get(), later.get()));
  return milliseconds;
}

// Ties the times of a GPU's events to the host's clock: an event of which the host knows when it
// was reached, and the driver's difference to it. That difference is a float of milliseconds, so
// the event is renewed before a second's worth of them loses microseconds; between two steps, so
// that those of a step are by one event.
class DeviceClock {
 public:
  static DeviceClock& of(Device device) {
    static std::mutex mutex;
    // Never destroyed: at the end of the process the driver is gone before.
    static auto& clocks = *new std::map<int, std::unique_ptr<DeviceClock>>();
    std::lock_guard lock(mutex);
    auto& clock = clocks[device.index];
    if (!clock) clock = std::make_unique<DeviceClock>(device);
    return *clock;
  }

  explicit DeviceClock(Device device)
      : device_(device),
        stream_(side_stream(device)),
        origin_(make_event()),
        other_(make_event()) {}

  // If that was a while ago.
  void read() {
    std::lock_guard lock(mutex_);
    if (Clock::now() - origin_time_ > std::chrono::seconds(1)) renew();
  }

  Clock::time_point time_of(const NativeEvent& event) {
    std::lock_guard lock(mutex_);
    if (origin_time_ == Clock::time_point{}) renew();
    return origin_time_ +
           std::chrono::duration_cast<Clock::duration>(
               std::chrono::duration<double, std::milli>(milliseconds_between(*origin_, event)));
  }

 private:
  std::unique_ptr<NativeEvent> make_event() const {
    return std::make_unique<NativeEvent>(device_, cudaEventDefault);
  }

  // The event is reached between two looks at the host's clock. The host may wake up late, on each
  // GPU by something else: of several readings, that between the nearest looks says it best.
  void renew() {
    constexpr int kReadings = 10;
    use(device_);
    Clock::duration nearest = Clock::duration::max();
    for (int i = 0; i < kReadings; ++i) {
      const Clock::time_point before = Clock::now();
      STAGECOACH_CUDA_CHECK(cudaEventRecord(other_->get(), native_stream(stream_)));
      STAGECOACH_CUDA_CHECK(cudaEventSynchronize(other_->get()));
      const Clock::duration between = Clock::now() - before;
      if (between >= nearest) continue;
      nearest = between;
      origin_time_ = before + between / 2;
      std::swap(origin_, other_);
    }
  }

  std::mutex mutex_;
  const Device device_;
  Stream& stream_;
  std::unique_ptr<NativeEvent> origin_, other_;
  Clock::time_point origin_time_;  // of the epoch at first: long ago
};

class CudaMark : public DeviceMark {
 public:
  CudaMark(Device device, EventUse use_of_event)
      : event_(device,
               use_of_event == EventUse::kTime ? cudaEventDefault : cudaEventDisableTiming) {}

  std::exception_ptr await() override {
    try {
      STAGECOACH_CUDA_CHECK(cudaEventSynchronize(event_.get()));
      return nullptr;
    } catch (...) {
      return std::current_exception();
    }
  }
  // Behind a fault, which nothing on this GPU outlives, there is no time to be had.
  Clock::time_point time() override {
    try {
      return DeviceClock::of(event_.device()).time_of(event_);
    } catch (const Error&) {
      return Clock::now();
    }
  }
  double seconds_since(DeviceMark& earlier) override {
    return 1e-3 * milliseconds_between(dynamic_cast<CudaMark&>(earlier).event_, event_);
  }
  // Marks of a failed stream count as reached: await() gives the error.
  bool reached() override {
    const cudaError_t status = cudaEventQuery(event_.get());
    cudaGetLastError();
    return status != cudaErrorNotReady && status != cudaErrorStreamCaptureUnsupported;
  }
  cudaEvent_t native() const { return event_.get(); }

 private:
  NativeEvent event_;
};

class CudaStream : public Stream {
 public:
  explicit CudaStream(Device device, bool urgent = false) : device_(device) {
    check_device(device);
    use(device);
    int least = 0, greatest = 0;
    STAGECOACH_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    STAGECOACH_CUDA_CHECK(
        cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, urgent ? greatest : least));
  }
  ~CudaStream() override {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
    cudaGetLastError();
  }

  Device device() const override { return device_; }
  cudaStream_t native() const { return stream_; }

  void enqueue(std::function<void()>) override {
    throw Error("Stream::enqueue", "a stream of the CPU",
                fmt::format("a stream of {}, which runs kernels only", device_.to_string()));
  }

  void record(Event& event, EventUse event_use) override {
    use(device_);
    const auto mark = std::make_shared<CudaMark>(device_, event_use);
    // In a graph, an ordinary event is an edge and nothing that can be asked later.
    const bool external = event_use == EventUse::kTime && is_capturing();
    STAGECOACH_CUDA_CHECK(cudaEventRecordWithFlags(
        mark->native(), stream_, external ? cudaEventRecordExternal : cudaEventRecordDefault));
    state_of(event)->set_mark(mark);
  }

  void wait(const Event& event) override {
    const std::shared_ptr<DeviceMark> mark = state_of(event)->await_mark();
    if (mark == nullptr) {  // of a CPU stream, and reached
      if (std::exception_ptr error = state_of(event)->await()) std::rethrow_exception(error);
      return;
    }
    use(device_);
    const auto native_event = std::dynamic_pointer_cast<CudaMark>(mark)->native();
    STAGECOACH_CUDA_CHECK(cudaStreamWaitEvent(stream_, native_event, cudaEventWaitDefault));
  }

  void synchronize() override { STAGECOACH_CUDA_CHECK(cudaStreamSynchronize(stream_)); }

  // What the driver reports once is forgotten; a fault of a kernel stays with the process.
  void reset() override {
    cudaStreamSynchronize(stream_);
    cudaGetLastError();
  }

 private:
  bool is_capturing() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    STAGECOACH_CUDA_CHECK(cudaStreamIsCapturing(stream_, &status));
    return status == cudaStreamCaptureStatusActive;
  }

  Device device_;
  cudaStream_t stream_ = nullptr;
};

class CudaGraph : public Graph {
 public:
  CudaGraph(cudaGraph_t graph, Stream& stream) {
    cudaGraphExec_t executable = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    STAGECOACH_CUDA_CHECK(status);
    executable_.reset(executable);
    STAGECOACH_CUDA_CHECK(cudaGraphUpload(executable, native_stream(stream)));
  }
  void launch(Stream& stream) override {
    use(stream.device());
    STAGECOACH_CUDA_CHECK(cudaGraphLaunch(executable_.get(), native_stream(stream)));
  }

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t executable) const {
      cudaGraphExecDestroy(executable);
      cudaGetLastError();
    }
  };
  std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, Destroy> executable_;
};

// The first stream's capture spreads along events to the others, and must end where it began.
void enqueue_forked(std::span<Stream* const> streams, const std::function<void()>& enqueue) {
  Event fork;
  streams[0]->record(fork);
  for (Stream* stream : streams.subspan(1)) stream->wait(fork);
  enqueue();
  for (Stream* stream : streams.subspan(1)) {
    Event join;
    stream->record(join);
    streams[0]->wait(join);
  }
}

}  // namespace

cudaStream_t native_stream(Stream& stream) {
  return dynamic_cast<CudaStream&>(stream).native();
}

std::unique_ptr<Stream> create_urgent_stream(Device device) {
  return std::make_unique<CudaStream>(device, true);
}

std::unique_ptr<Stream> CudaDevice::create_stream(Device device) const {
  return std::make_unique<CudaStream>(device);
}

std::unique_ptr<Graph> CudaDevice::capture(std::span<Stream* const> streams,
                                           const std::function<void()>& enqueue) const {
  Stream& origin = *streams[0];
  use(origin.device());
  STAGECOACH_CUDA_CHECK(
      cudaStreamBeginCapture(native_stream(origin), cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    enqueue_forked(streams, enqueue);
  } catch (...) {
    use(origin.device());  // the error may have come on another
    cudaStreamEndCapture(native_stream(origin), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  use(origin.device());
  STAGECOACH_CUDA_CHECK(cudaStreamEndCapture(native_stream(origin), &graph));
  return std::make_unique<CudaGraph>(graph, origin);
}

void CudaDevice::read_clock(Device device) const {
  DeviceClock::of(device).read();
}

void CudaDevice::copy(Stream& stream, const Tensor& to, const Tensor& from) const {
  use(stream.device());
  const auto size = static_cast<std::size_t>(from.bytes());
  const bool between_gpus = to.device.type == DeviceType::kCuda &&
                            from.device.type == DeviceType::kCuda &&
                            to.device.index != from.device.index;
  if (between_gpus) {
    STAGECOACH_CUDA_CHECK(cudaMemcpyPeerAsync(to.data, to.device.index, from.data,
                                              from.device.index, size, native_stream(stream)));
  } else {
    STAGECOACH_CUDA_CHECK(
        cudaMemcpyAsync(to.data, from.data, size, cudaMemcpyDefault, native_stream(stream)));
  }
}

}  // namespace stagecoach::cuda
