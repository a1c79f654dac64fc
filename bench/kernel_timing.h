// How bench_kernels times an operation, and what it compares the time with.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <functional>
#include <string>

#include "core/buffer.h"
#include "core/context.h"
#include "kernels/cpu/peak.h"

namespace stagecoach {

struct Setting {
  std::int64_t batch;
  int threads;
};
constexpr Setting kSettings[] = {{32, 1}, {32, 2}, {8, 1}};

inline OwnedTensor ones(const TensorSpec& spec) {
  OwnedTensor result(spec);
  std::fill_n(result.tensor.as<float>(), spec.elements(), 1.0f);
  return result;
}

// Times `operation` on a context, and counts `flops` floating-point operations and `bytes` moved
// for each call; 0 counts nothing.
inline void measure(benchmark::State& state, int threads, std::int64_t workspace_bytes,
                    double flops, double bytes, const std::function<void(Context&)>& operation) {
  const OwnedTensor workspace = ones(row_major({workspace_bytes / 4}));
  Context context(threads);
  context.set_workspace(workspace.tensor);
  const auto run = [&] {
    operation(context);
    context.stream().synchronize();
  };
  run();  // first use of the memory
  const Clock::time_point begin = Clock::now();
  for (auto _ : state) run();
  const std::chrono::duration<double> seconds = Clock::now() - begin;
  const double calls = static_cast<double>(state.iterations()) / seconds.count();
  if (flops > 0.0) {
    state.counters["GFLOP/s"] = 1e-9 * flops * calls;
    state.counters["share"] = flops * calls / (cpu::peak_flops() * threads);
  }
  if (bytes > 0.0) state.counters["GB/s"] = 1e-9 * bytes * calls;
}

inline void add(const std::string& name, const Setting& setting,
                const std::function<void(benchmark::State&)>& run) {
  const std::string full = name + "/batch:" + std::to_string(setting.batch) +
                           "/threads:" + std::to_string(setting.threads);
  benchmark::RegisterBenchmark(full.c_str(), run)->UseRealTime()->Unit(benchmark::kMillisecond);
}

}  // namespace stagecoach
