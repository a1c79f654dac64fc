// How bench_cuda times an operation: by the GPU's own clock, many calls at a time.
#pragma once

#include <benchmark/benchmark.h>

#include <deque>
#include <exception>
#include <functional>
#include <string>

#include "bench/timed_calls.h"
#include "core/buffer.h"
#include "core/context.h"
#include "kernels/uniform.h"

namespace stagecoach {

inline const Device kGpu{DeviceType::kCuda, 0};

inline Target gpu_target(Precision precision) {
  Target target(1, kGpu);
  target.precision = precision;
  return target;
}

// The tensors of one benchmark, on the GPU while it runs.
class GpuTensors {
 public:
  explicit GpuTensors(Context& context) : context_(context) {}

  // Random numbers in [-1, 1): zeros cost a GPU less power, and less time. Integers are zeros.
  Tensor make(const TensorSpec& spec) {
    const Tensor tensor = owned_.emplace_back(spec, kGpu).tensor;
    const auto seed = static_cast<std::uint64_t>(owned_.size());
    if (is_floating(spec.dtype)) fill_uniform(context_, tensor, 1.0f, {.seed = seed});
    return tensor;
  }
  void add_workspace(std::int64_t bytes) {
    context_.set_workspace(owned_.emplace_back(row_major({bytes}, DType::kU8), kGpu).tensor);
  }
  Context& context() { return context_; }

 private:
  Context& context_;
  std::deque<OwnedTensor> owned_;
};

// What one call of an operation does at least; 0 is not reported.
struct Work {
  double flops = 0, bytes = 0;
};

// Makes the tensors of an operation and returns what enqueues it once.
using Setup = std::function<std::function<void()>(GpuTensors&)>;

inline void time_calls(benchmark::State& state, Context& context,
                       const std::function<void()>& operation) {
  operation();  // loads the kernel, chooses the algorithm
  context.stream().synchronize();
  TimedCalls calls(context, operation);
  for (auto _ : state) state.SetIterationTime(calls.seconds_per_call());
}

// Adds the benchmark NAME/PRECISION/batch:BATCH. An error becomes its result, and the others run.
inline benchmark::internal::Benchmark* add_benchmark(
    const std::string& name, Precision precision, std::int64_t batch,
    const std::function<void(benchmark::State&)>& run) {
  const auto guarded = [=](benchmark::State& state) {
    try {
      run(state);
    } catch (const std::exception& error) {
      state.SkipWithError(error.what());
    }
  };
  const std::string full =
      name + "/" + std::string(name_of(precision)) + "/batch:" + std::to_string(batch);
  return benchmark::RegisterBenchmark(full.c_str(), guarded)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

inline void add(const std::string& name, Precision precision, std::int64_t batch, const Work& work,
                const Setup& setup) {
  add_benchmark(name, precision, batch, [=](benchmark::State& state) {
    Context context(gpu_target(precision));
    GpuTensors tensors(context);
    time_calls(state, context, setup(tensors));
    using Counter = benchmark::Counter;
    const auto rate = Counter::kIsIterationInvariantRate;
    if (work.flops > 0) state.counters["TFLOP/s"] = Counter(1e-12 * work.flops, rate);
    if (work.bytes > 0) state.counters["GB/s"] = Counter(1e-9 * work.bytes, rate);
  });
}

}  // namespace stagecoach
