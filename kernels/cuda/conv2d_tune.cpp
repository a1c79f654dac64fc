#include "kernels/cuda/conv2d_tune.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>

#include "core/buffer.h"
#include "core/cuda/runtime.h"
#include "core/error.h"
#include "core/log.h"
#include "kernels/cuda/conv2d_execute.h"
#include "kernels/cuda/plan_cache.h"

namespace stagecoach::cuda {
namespace {

constexpr std::size_t kCandidates = 40;  // are timed
constexpr int kRuns = 7;                 // of each, whose median counts
constexpr int kRepeats = 5;              // in a run, to launch while the GPU computes
constexpr float kHopeless = 3.0f;        // times the fastest so far, in the first run

// Operands of a problem, filled with small numbers: zeros would let the GPU run at a higher clock.
class Scratch {
 public:
  Scratch(const ConvProblem& problem, std::int64_t workspace_bytes, Device gpu, cudaStream_t stream)
      : x_(problem.n * problem.c * problem.h * problem.w * size_of(problem.dtype()), gpu),
        w_(problem.o * problem.c * problem.kh * problem.kw * size_of(problem.dtype()), gpu),
        y_(problem.n * problem.o * problem.out_h() * problem.out_w() * size_of(problem.dtype()),
           gpu),
        bias_(problem.o * size_of(problem.dtype()), gpu),
        workspace_(workspace_bytes, gpu) {
    constexpr int kByte = 0x3c;  // 0x3c3c is 0.0115 in BF16, and so it is in F32, twice
    for (const Buffer* buffer : {&x_, &w_, &y_, &bias_}) {
      STAGECOACH_CUDA_CHECK(cudaMemsetAsync(buffer->data(), kByte,
                                            static_cast<std::size_t>(buffer->bytes()), stream));
    }
  }
  ConvOperands operands() const {
    return {x_.data(), w_.data(), y_.data(), bias_.data(), workspace_.data()};
  }

 private:
  Buffer x_, w_, y_, bias_, workspace_;
};

// Milliseconds from one event of a GPU to another, on one stream.
class Stopwatch {
 public:
  void start(cudaStream_t stream) { STAGECOACH_CUDA_CHECK(cudaEventRecord(begin_.it, stream)); }
  float stop(cudaStream_t stream) {
    float milliseconds = 0;
    STAGECOACH_CUDA_CHECK(cudaEventRecord(end_.it, stream));
    STAGECOACH_CUDA_CHECK(cudaEventSynchronize(end_.it));
    STAGECOACH_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_.it, end_.it));
    return milliseconds;
  }

 private:
  // One each, so that the first is destroyed where the second cannot be made.
  struct Timestamp {
    Timestamp() { STAGECOACH_CUDA_CHECK(cudaEventCreate(&it)); }
    ~Timestamp() { cudaEventDestroy(it); }
    Timestamp(const Timestamp&) = delete;
    Timestamp& operator=(const Timestamp&) = delete;
    cudaEvent_t it = nullptr;
  };
  Timestamp begin_, end_;
};

// `least`: of the plans before. One that is far slower is not run to the end.
float median_milliseconds(cudnnHandle_t handle, const ConvPlan& plan, const ConvProblem& problem,
                          const ConvOperands& operands, cudaStream_t stream, float least) {
  Stopwatch stopwatch;
  std::array<float, kRuns> times{};
  execute_plan(handle, plan, problem, operands);  // loads the kernels
  stopwatch.start(stream);
  execute_plan(handle, plan, problem, operands);
  if (const float once = stopwatch.stop(stream); once > kHopeless * least) return once;
  for (float& time : times) {
    stopwatch.start(stream);
    for (int i = 0; i < kRepeats; ++i) execute_plan(handle, plan, problem, operands);
    time = stopwatch.stop(stream) / kRepeats;
  }
  std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
  return times[kRuns / 2];
}

// A handle's stream while this lives.
class StreamOf {
 public:
  StreamOf(cudnnHandle_t handle, cudaStream_t stream) : handle_(handle) {
    STAGECOACH_CUDNN_CHECK(cudnn().set_stream(handle, stream));
  }
  ~StreamOf() { cudnn().set_stream(handle_, nullptr); }
  StreamOf(const StreamOf&) = delete;
  StreamOf& operator=(const StreamOf&) = delete;

 private:
  cudnnHandle_t handle_;
};

// The index of the fastest of `plans`. A plan that fails on the GPU after all is left out; Error
// when all do.
std::size_t race(const CudnnDevice& device, Device gpu, const ConvProblem& problem,
                 const std::vector<ConvPlan>& plans) {
  use(gpu);
  std::int64_t workspace_bytes = 0;
  for (const ConvPlan& plan : plans) {
    workspace_bytes = std::max(workspace_bytes, plan.workspace_bytes);
  }
  const std::unique_ptr<Stream> stream = Stream::create(gpu);
  const cudaStream_t native = native_stream(*stream);
  const StreamOf stream_of_handle(device.handle(), native);
  const Scratch scratch(problem, workspace_bytes, gpu, native);
  std::size_t fastest = 0;
  float least = std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < plans.size(); ++i) {
    try {
      const float time = median_milliseconds(device.handle(), plans[i], problem, scratch.operands(),
                                             native, least);
      if (time >= least) continue;
      least = time;
      fastest = i;
    } catch (const Error& error) {
      spdlog::warn("{}: {} is left out: {}", problem.key(), plans[i].to_string(), error.message());
    }
  }
  STAGECOACH_CHECK(std::isfinite(least), "conv2d",
                   fmt::format("a plan that runs, for {}", problem.key()),
                   fmt::format("{} that fail", plans.size()));
  spdlog::info("{}: {}, {:.3f} ms, the fastest of {}", problem.key(), plans[fastest].to_string(),
               least, plans.size());
  return fastest;
}

ChosenEngine remembered_or_raced(const CudnnDevice& device, Device gpu,
                                 const ConvProblem& problem) {
  static PlanCache cache;  // used by one thread at a time: see below
  const std::string key = plan_cache_key(cudnn_version_text(), device.kind(), problem);
  PlanLimits limits = limits_for(problem);
  if (const std::optional<EngineChoice> choice = cache.find(key)) {
    const auto plan = rebuild_plan(device, problem, *choice, limits);
    if (plan) return {plan->choice, plan->workspace_bytes};
    spdlog::warn("the tuned plan for {} does not work here: timing again", problem.key());
  }
  limits.plans = kCandidates;
  const std::vector<ConvPlan> plans = list_plans(device, problem, limits);
  const ConvPlan& winner = plans[race(device, gpu, problem, plans)];
  cache.store(key, winner.choice);
  return {winner.choice, winner.workspace_bytes};
}

}  // namespace

const ChosenEngine& choose_fastest_engine(const CudnnDevice& device, Device gpu,
                                          const ConvProblem& problem) {
  static EngineChoices choices;
  return choices.of(device.kind(), problem,
                    [&] { return remembered_or_raced(device, gpu, problem); });
}

}  // namespace stagecoach::cuda
